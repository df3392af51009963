"""Chat completions that are not streamed."""

import math

import pytest
from strict import check
from wanted import FOX, STORY, check_metrics, check_stats_headers

GREEDY = {"model": "demo", "temperature": 0}


def text(completion):
    return completion.choices[0].message.content


def test_an_answer_has_openais_shape_and_its_usage_adds_up(client):
    answer = check(client.chat.completions.create(messages=FOX, **GREEDY))
    assert answer.id.startswith("chatcmpl-") and answer.object == "chat.completion" and answer.model == "demo"
    choice = answer.choices[0]
    assert choice.finish_reason == "stop" and choice.index == 0 and choice.logprobs is None
    assert choice.message.role == "assistant" and "fox" in choice.message.content.lower()
    assert choice.message.refusal is None and choice.message.tool_calls is None
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens and usage.completion_tokens > 0
    assert answer.system_fingerprint


def test_every_role_and_text_parts_are_taken(client):
    answer = client.chat.completions.create(
        messages=[
            {"role": "developer", "content": "Your name is Bo."},
            {"role": "user", "content": [{"type": "text", "text": "What is a fox?"}]},
            {"role": "assistant", "content": "A wild animal."},
            {"role": "user", "content": "What is your name?", "name": "ann"},
        ],
        **GREEDY,
    )
    assert "Bo" in text(check(answer))


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_length_ends_the_answer(client, field):
    answer = check(client.chat.completions.create(messages=STORY, **GREEDY, **{field: 5}))
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 5


def test_several_answers_are_several_choices(client):
    answer = check(
        client.chat.completions.create(model="demo", messages=STORY, n=3, temperature=1, seed=3, max_tokens=12)
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) > 1
    assert answer.usage.completion_tokens <= 36


def test_a_seed_reproduces_an_answer(client):
    def ask(seed):
        return text(
            client.chat.completions.create(model="demo", messages=STORY, temperature=1.5, seed=seed, max_tokens=30)
        )

    assert ask(11) == ask(11)
    assert len({ask(seed) for seed in range(4)}) > 1


@pytest.mark.parametrize("stop", [" is", ["nothing of the kind", " is"]])
def test_a_stop_string_ends_the_answer_and_is_left_out(client, stop):
    answer = check(client.chat.completions.create(messages=FOX, stop=stop, **GREEDY))
    assert answer.choices[0].finish_reason == "stop" and " is" not in text(answer) and text(answer)


def test_log_probabilities_are_those_of_the_tokens(client):
    answer = check(client.chat.completions.create(messages=FOX, logprobs=True, top_logprobs=3, max_tokens=8, **GREEDY))
    tokens = answer.choices[0].logprobs.content
    assert len(tokens) == 8 and "".join(token.token for token in tokens) == text(answer)
    for token in tokens:
        assert bytes(token.bytes).decode() == token.token
        assert token.logprob <= 0 and len(token.top_logprobs) == 3
        assert token.top_logprobs[0].token == token.token, "greedy takes the likeliest"
        assert sum(math.exp(top.logprob) for top in token.top_logprobs) <= 1.001
    plain = check(client.chat.completions.create(messages=FOX, logprobs=True, max_tokens=8, **GREEDY))
    assert all(token.top_logprobs == [] for token in plain.choices[0].logprobs.content)


def test_a_bias_keeps_tokens_out_or_forces_them(client):
    first = client.chat.completions.create(messages=FOX, max_tokens=1, extra_body={"return_token_ids": True}, **GREEDY)
    token = first.choices[0].model_extra["token_ids"][0]
    without = client.chat.completions.create(messages=FOX, max_tokens=1, logit_bias={str(token): -100}, **GREEDY)
    assert text(without) != text(first)
    forced = client.chat.completions.create(messages=STORY, max_tokens=3, logit_bias={str(token): 100}, **GREEDY)
    assert text(forced) == text(first) * 3


def test_penalties_change_what_repeats(client):
    def ask(repetition_penalty=1, **penalty):
        # Beyond its answer's end the model says the same again and again.
        more = {"ignore_eos": True, "repetition_penalty": repetition_penalty}
        return text(
            check(client.chat.completions.create(messages=FOX, max_tokens=80, extra_body=more, **penalty, **GREEDY))
        )

    for penalty in ({"presence_penalty": 2}, {"frequency_penalty": 2}, {"repetition_penalty": 1.9}):
        assert ask(**penalty) != ask(), penalty


def test_vllms_own_fields_are_honoured(client):
    answer = client.chat.completions.create(
        messages=FOX,
        max_tokens=6,
        model="demo",
        temperature=1,
        extra_body={"top_k": 1, "min_p": 0.1, "min_tokens": 6, "ignore_eos": True, "return_token_ids": True},
    )
    check(answer, "$.prompt_token_ids", "$.choices[0].token_ids")
    assert len(answer.choices[0].model_extra["token_ids"]) == 6 == answer.usage.completion_tokens
    greedy = client.chat.completions.create(messages=FOX, max_tokens=6, extra_body={"ignore_eos": True}, **GREEDY)
    assert text(answer) == text(greedy), "top_k 1 is greedy"


def test_cached_tokens_are_in_the_usage(client):
    ask = {"messages": [{"role": "user", "content": "fox " * 80}], "max_tokens": 1, **GREEDY}
    client.chat.completions.create(**ask)
    again = check(client.chat.completions.create(**ask))
    assert again.usage.prompt_tokens_details.cached_tokens >= 32


def test_raw_responses_have_the_headers(client):
    raw = client.chat.completions.with_raw_response.create(messages=FOX, **GREEDY)
    answer = check(raw.parse())
    check_stats_headers(raw.headers, answer.usage)
    assert raw.headers["x-request-id"] == answer._request_id


def test_streaming_responses_have_the_headers_before_the_body(client):
    with client.chat.completions.with_streaming_response.create(messages=FOX, **GREEDY) as response:
        headers = response.headers
        assert headers["x-vllm-completion-tokens"]
        answer = check(response.parse())
    check_stats_headers(headers, answer.usage)


def test_a_request_id_is_taken_over(client):
    answer = client.chat.completions.create(
        messages=FOX, max_tokens=1, extra_headers={"X-Request-Id": "ours.1"}, **GREEDY
    )
    assert answer._request_id == "ours.1" and answer.id == "chatcmpl-ours.1"


def test_metrics_are_in_the_body_when_asked_for(client):
    answer = client.chat.completions.create(messages=FOX, extra_body={"include_metrics": True}, **GREEDY)
    check_metrics(check(answer, "$.metrics").model_extra["metrics"])


def test_load_is_reported_to_gateways(client):
    raw = client.chat.completions.with_raw_response.create(
        messages=FOX, max_tokens=1, extra_headers={"endpoint-load-metrics-format": "JSON"}, **GREEDY
    )
    assert "kv_cache_usage_perc" in raw.headers["endpoint-load-metrics"]


def test_models_are_listed_and_found(client):
    models = client.models.list()
    assert [model.id for model in models] == ["demo"]
    model = check(client.models.retrieve("demo"), "$.root", "$.max_model_len")
    assert model.object == "model" and model.created > 0 and model.owned_by == "candela"


@pytest.mark.anyio
async def test_async_requests_run_side_by_side(async_client):
    import asyncio

    async def ask(question):
        return await async_client.chat.completions.create(messages=[{"role": "user", "content": question}], **GREEDY)

    answers = await asyncio.gather(*(ask(f"What is a {animal}?") for animal in ("fox", "dog", "cat", "pod")))
    for answer, animal in zip(answers, ("fox", "dog", "cat", "pod"), strict=True):
        assert animal in text(check(answer)).lower()
    raw = await async_client.chat.completions.with_raw_response.create(messages=FOX, **GREEDY)
    check_stats_headers(raw.headers, raw.parse().usage)
