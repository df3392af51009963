"""LiteLLM, with both of its providers that speak this API."""

import asyncio
import json

import litellm
import pytest
from pydantic import BaseModel, Field
from wanted import ANIMAL_SCHEMA, FOX, TIME, WEATHER, WEATHER_QUESTION

litellm.telemetry = False
litellm.suppress_debug_info = True
PROVIDERS = ["openai", "hosted_vllm"]


class Animal(BaseModel):
    legs: int = Field(ge=0, le=8)
    wild: bool


@pytest.fixture(params=PROVIDERS)
def to(request, servers):
    """What every request to the demo server has in common."""
    return {
        "model": f"{request.param}/demo",
        "api_base": servers.demo.url,
        "api_key": "unused",
        "temperature": 0,
        "max_retries": 0,
        "timeout": 60,
    }


def text(answer):
    return answer.choices[0].message.content


def test_completion(to):
    answer = litellm.completion(messages=FOX, **to)
    assert "fox" in text(answer).lower() and answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


def test_headers_are_in_the_hidden_parameters(to):
    answer = litellm.completion(messages=FOX, **to)
    headers = answer._hidden_params["additional_headers"]
    assert float(headers["llm_provider-x-candela-compute-time"]) > 0


def test_streams_are_the_whole_answer(to):
    chunks = list(litellm.completion(messages=FOX, stream=True, stream_options={"include_usage": True}, **to))
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert streamed == text(litellm.completion(messages=FOX, **to))
    assert chunks[-1].usage.completion_tokens > 0


def test_chunks_put_together(to):
    chunks = list(litellm.completion(messages=FOX, stream=True, **to))
    assert "fox" in text(litellm.stream_chunk_builder(chunks, messages=FOX)).lower()


def test_async(to):
    async def ask():
        answers = await asyncio.gather(*(litellm.acompletion(messages=FOX, **to) for _ in range(3)))
        stream = await litellm.acompletion(messages=FOX, stream=True, **to)
        return answers, "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    answers, streamed = asyncio.run(ask())
    assert {text(answer) for answer in answers} == {streamed}


def test_fields_of_sampling_reach_the_server(to):
    ask = {"messages": FOX, **(to | {"temperature": 1.5}), "max_tokens": 8}
    assert text(litellm.completion(seed=1, **ask)) == text(litellm.completion(seed=1, **ask))
    answer = litellm.completion(messages=FOX, n=2, stop=[" is"], **to)
    assert len(answer.choices) == 2 and " is" not in text(answer)


def test_log_probabilities(to):
    answer = litellm.completion(messages=FOX, logprobs=True, top_logprobs=2, max_tokens=4, **to)
    assert len(answer.choices[0].logprobs.content[0].top_logprobs) == 2


def test_tools(to):
    answer = litellm.completion(messages=WEATHER_QUESTION, tools=[WEATHER, TIME], **to)
    [call] = answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "get_weather" and json.loads(call.function.arguments) == {"city": "Rome"}
    messages = [
        *WEATHER_QUESTION,
        answer.choices[0].message.model_dump(),
        {"role": "tool", "tool_call_id": call.id, "content": '{"sky": "sunny", "degrees": 21}'},
    ]
    assert "sunny" in text(litellm.completion(messages=messages, tools=[WEATHER, TIME], **to))


def test_streamed_tools(to):
    chunks = list(litellm.completion(messages=WEATHER_QUESTION, tools=[WEATHER], stream=True, **to))
    [call] = litellm.stream_chunk_builder(chunks, messages=WEATHER_QUESTION).choices[0].message.tool_calls
    assert call.function.name == "get_weather" and json.loads(call.function.arguments) == {"city": "Rome"}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_time"}}])
def test_tool_choice(to, choice):
    answer = litellm.completion(
        messages=FOX, tools=[TIME], tool_choice=choice, parallel_tool_calls=False, max_tokens=200, **to
    )
    assert [call.function.name for call in answer.choices[0].message.tool_calls] == ["get_time"]


@pytest.mark.parametrize("as_class", [True, False])
def test_structured_output(to, as_class):
    schema = {"type": "json_schema", "json_schema": {"name": "animal", "schema": ANIMAL_SCHEMA, "strict": True}}
    answer = litellm.completion(
        messages=FOX,
        response_format=Animal if as_class else schema,
        max_tokens=200,
        seed=1,
        **(to | {"temperature": 1}),
    )
    found = json.loads(text(answer))
    assert Animal.model_validate(found) if as_class else set(found) == set(ANIMAL_SCHEMA["required"])


def test_text_completion(to):
    answer = litellm.text_completion(prompt="Once upon a time", max_tokens=8, **to)
    assert answer.choices[0].text


def test_errors_are_litellms(to):
    with pytest.raises(litellm.BadRequestError, match="temperature"):
        litellm.completion(messages=FOX, **(to | {"temperature": -1}))
    with pytest.raises(litellm.NotFoundError):
        litellm.completion(messages=FOX, **(to | {"model": to["model"].replace("demo", "gpt-9")}))
    with pytest.raises(litellm.ContextWindowExceededError):
        litellm.completion(messages=[{"role": "user", "content": "fox " * 4000}], **to)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_keys(provider, servers):
    ask = {
        "model": f"{provider}/demo",
        "api_base": servers.keyed.url,
        "messages": FOX,
        "max_tokens": 1,
        "max_retries": 0,
    }
    with pytest.raises(litellm.AuthenticationError):
        litellm.completion(api_key="wrong", **ask)
    assert litellm.completion(api_key=servers.key, **ask).choices


@pytest.mark.parametrize("provider", PROVIDERS)
def test_embeddings(provider, servers):
    ask = {"model": f"{provider}/embed", "api_base": servers.embed.url, "api_key": "unused"}
    response = litellm.embedding(
        input=["A fox is a wild animal.", "Foxes live in the forest."], encoding_format="float", **ask
    )
    first, second = (item["embedding"] for item in response.data)
    assert sum(a * b for a, b in zip(first, second, strict=True)) > 0.3
    assert response.usage.prompt_tokens > 0
