"""Text completions."""

import openai
import pytest
from strict import check
from wanted import check_metrics, check_stats_headers

GREEDY = {"model": "demo", "temperature": 0}


def test_a_completion_goes_on_and_has_16_tokens_at_most(client):
    answer = check(client.completions.create(prompt="Once upon a time", **GREEDY))
    assert answer.id.startswith("cmpl-") and answer.object == "text_completion"
    assert answer.usage.completion_tokens <= 16 and answer.choices[0].text


def test_a_prompt_has_four_shapes(client):
    ask = {"max_tokens": 4, **GREEDY}
    text = client.completions.create(prompt="Once", extra_body={"return_token_ids": True}, **ask)
    ids = text.choices[0].model_extra["prompt_token_ids"]
    one = check(client.completions.create(prompt=ids, **ask))
    texts = check(client.completions.create(prompt=["Once", "A fox"], **ask))
    lists = check(client.completions.create(prompt=[ids, ids], **ask))
    assert one.choices[0].text == text.choices[0].text == texts.choices[0].text
    assert [choice.index for choice in texts.choices] == [0, 1]
    assert [choice.text for choice in lists.choices] == [one.choices[0].text] * 2


def test_n_answers_to_each_prompt_are_in_order(client):
    answer = check(client.completions.create(model="demo", prompt=["Once", "A fox"], n=2, max_tokens=3, temperature=1))
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]


def test_the_prompt_is_echoed(client):
    answer = check(client.completions.create(prompt="Once upon", echo=True, max_tokens=3, **GREEDY))
    alone = client.completions.create(prompt="Once upon", max_tokens=3, **GREEDY)
    assert answer.choices[0].text == "Once upon" + alone.choices[0].text


def test_log_probabilities_of_prompt_and_answer(lenient):
    answer = check(lenient.completions.create(prompt="Once upon", echo=True, logprobs=2, max_tokens=3, **GREEDY))
    logprobs = answer.choices[0].logprobs
    assert "".join(logprobs.tokens) == answer.choices[0].text
    count = answer.usage.total_tokens
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset) == count
    assert logprobs.token_logprobs[0] is None, "nothing comes before the first token"
    assert all(value <= 0 for value in logprobs.token_logprobs[1:])
    assert all(len(top) in (2, 3) for top in logprobs.top_logprobs[1:])


def test_streams(client, lenient):
    stream = lenient.completions.create(
        prompt="Once", max_tokens=8, stream=True, stream_options={"include_usage": True}, **GREEDY
    )
    *chunks, last = [check(chunk) for chunk in stream]
    whole = client.completions.create(prompt="Once", max_tokens=8, **GREEDY)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert last.choices == [] and last.usage == whole.usage.model_copy(
        update={"prompt_tokens_details": last.usage.prompt_tokens_details}
    )


def test_headers_and_metrics(client):
    raw = client.completions.with_raw_response.create(prompt="Once", extra_body={"include_metrics": True}, **GREEDY)
    answer = check(raw.parse(), "$.metrics")
    check_stats_headers(raw.headers, answer.usage)
    check_metrics(answer.model_extra["metrics"])
    several = client.completions.with_raw_response.create(
        prompt=["Once", "A"], extra_body={"include_metrics": True}, **GREEDY
    )
    assert "x-vllm-total-time" not in several.headers
    check(several.parse())


def test_stop_strings_and_best_of(client):
    answer = check(client.completions.create(prompt="Once upon a time", stop=["."], best_of=1, max_tokens=60, **GREEDY))
    assert answer.choices[0].finish_reason == "stop" and "." not in answer.choices[0].text


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"suffix": "the end"}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [999_999]}, "prompt"),
        ({"logprobs": 1000}, "logprobs"),
    ],
)
def test_refusals(client, fields, param):
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(**({"prompt": "Once"} | GREEDY | fields))
    assert refused.value.param.startswith(param) and param in refused.value.message


@pytest.mark.anyio
async def test_async(async_client, servers):
    async with openai.AsyncOpenAI(base_url=servers.demo.url, api_key="unused", max_retries=0) as lenient:
        stream = await lenient.completions.create(prompt="Once", max_tokens=8, stream=True, **GREEDY)
        streamed = "".join([chunk.choices[0].text async for chunk in stream])
    whole = await async_client.completions.create(prompt="Once", max_tokens=8, **GREEDY)
    assert streamed == check(whole).choices[0].text
