"""Streamed chat completions, with the iterator and with the SDK's helper."""

import openai
import pytest
from engine import metric, until
from strict import check
from wanted import FOX, STORY, check_metrics

GREEDY = {"model": "demo", "temperature": 0}


def whole(client, **ask):
    return client.chat.completions.create(**ask, **GREEDY).choices[0].message.content


def test_the_pieces_are_the_whole_answer(client):
    chunks = [check(chunk) for chunk in client.chat.completions.create(messages=FOX, stream=True, **GREEDY)]
    first, *_, last = chunks
    assert first.choices[0].delta.role == "assistant" and first.choices[0].delta.content == ""
    assert [c.choices[0].delta.role for c in chunks[1:]] == [None] * (len(chunks) - 1)
    assert last.choices[0].finish_reason == "stop"
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks[:-1])
    assert len({(chunk.id, chunk.created, chunk.object) for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole(client, messages=FOX)


def test_usage_comes_last_when_asked_for(client):
    stream = client.chat.completions.create(messages=FOX, stream=True, stream_options={"include_usage": True}, **GREEDY)
    *before, last = [check(chunk) for chunk in stream]
    assert last.choices == [] and last.usage.total_tokens == last.usage.prompt_tokens + last.usage.completion_tokens
    assert all(chunk.usage is None and chunk.choices for chunk in before)


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}])
def test_metrics_are_in_the_last_chunk(client, options):
    stream = client.chat.completions.create(
        messages=FOX, stream=True, extra_body={"include_metrics": True}, **options, **GREEDY
    )
    *before, last = stream
    check_metrics(check(last, "$.metrics").model_extra["metrics"])
    for chunk in before:
        check(chunk)


def test_several_answers_come_interleaved(client):
    stream = client.chat.completions.create(
        model="demo", messages=STORY, n=2, temperature=1, seed=5, max_tokens=10, stream=True
    )
    texts = {0: "", 1: ""}
    finished = []
    for chunk in stream:
        for choice in check(chunk).choices:
            texts[choice.index] += choice.delta.content or ""
            finished += [choice.index] if choice.finish_reason else []
    again = client.chat.completions.create(model="demo", messages=STORY, n=2, temperature=1, seed=5, max_tokens=10)
    assert sorted(finished) == [0, 1] and list(texts.values()) == [c.message.content for c in again.choices]


def test_log_probabilities_are_streamed(client):
    ask = {"messages": FOX, "logprobs": True, "top_logprobs": 2, "max_tokens": 9, **GREEDY}
    streamed = [
        token
        for chunk in client.chat.completions.create(stream=True, **ask)
        for token in (check(chunk).choices[0].logprobs.content if chunk.choices[0].logprobs else [])
    ]
    whole = client.chat.completions.create(**ask).choices[0].logprobs.content
    assert [token.token for token in streamed] == [token.token for token in whole]
    for one, other in zip(streamed, whole, strict=True):
        assert one.logprob == pytest.approx(other.logprob, rel=1e-6) and len(one.top_logprobs) == 2


def test_the_helper_accumulates(client):
    with client.chat.completions.stream(messages=FOX, **GREEDY) as stream:
        events = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "content.delta" in events and "content.done" in events
    assert final.choices[0].message.content == whole(client, messages=FOX)
    assert final.choices[0].finish_reason == "stop"


def test_a_stream_has_no_stats_headers(client):
    raw = client.chat.completions.with_raw_response.create(messages=FOX, stream=True, **GREEDY)
    assert raw.headers["content-type"].startswith("text/event-stream")
    assert not [name for name in raw.headers if name.startswith("x-vllm")]
    assert [chunk.choices[0].finish_reason for chunk in raw.parse()][-1] == "stop"


def test_the_wire_is_server_sent_events(client):
    with client.chat.completions.with_streaming_response.create(messages=FOX, stream=True, **GREEDY) as response:
        lines = list(response.iter_lines())
    assert all(line == "" or line.startswith("data: ") for line in lines) and lines[-2:] == ["data: [DONE]", ""]


def test_closing_a_stream_cancels_the_request(client, servers):
    def aborted():
        return metric(servers.demo.root, "vllm:request_success_total", finished_reason="abort")

    before = aborted()
    stream = client.chat.completions.create(
        messages=STORY, stream=True, max_tokens=1800, extra_body={"ignore_eos": True}, **GREEDY
    )
    for _, _chunk in zip(range(3), stream):
        pass
    stream.close()
    until("the request is aborted", lambda: aborted() == before + 1)
    until("nothing runs", lambda: metric(servers.demo.root, "vllm:num_requests_running") == 0)


def test_a_timeout_cancels_the_request(client, servers):
    with pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(
            messages=STORY, max_tokens=1900, extra_body={"ignore_eos": True}, timeout=0.2, **GREEDY
        )
    until("nothing runs", lambda: metric(servers.demo.root, "vllm:num_requests_running") == 0)


@pytest.mark.anyio
async def test_async_streams(async_client):
    stream = await async_client.chat.completions.create(messages=FOX, stream=True, **GREEDY)
    text = ""
    async for chunk in stream:
        text += check(chunk).choices[0].delta.content or ""
    async with async_client.chat.completions.stream(messages=FOX, **GREEDY) as helper:
        async for _ in helper:
            pass
        final = await helper.get_final_completion()
    assert final.choices[0].message.content == text and "fox" in text.lower()
