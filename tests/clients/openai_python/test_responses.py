"""The responses API."""

import json
from typing import Literal

import openai
import pytest
from pydantic import BaseModel
from strict import check
from wanted import WEATHER_SCHEMA, check_metrics, check_stats_headers

ASK = {"model": "demo", "input": "What is a fox?", "temperature": 0}
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the weather in a city",
    "parameters": WEATHER_SCHEMA,
    "strict": True,
}
CALL = {"model": "demo", "input": "What is the weather in Rome?", "tools": [WEATHER], "temperature": 0}


class Fox(BaseModel):
    legs: Literal[2, 4]
    wild: bool


def test_a_response_has_openais_shape(client):
    response = check(client.responses.create(**ASK))
    assert response.id.startswith("resp_") and response.object == "response" and response.status == "completed"
    [message] = response.output
    assert message.type == "message" and message.role == "assistant" and message.status == "completed"
    assert message.content[0].type == "output_text" and "fox" in response.output_text.lower()
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert response.error is None and response.incomplete_details is None


def test_it_is_the_same_answer_as_a_chats(client):
    chat = client.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": ASK["input"]}], temperature=0
    )
    assert client.responses.create(**ASK).output_text == chat.choices[0].message.content


def test_input_may_be_items_and_instructions_steer(client):
    response = client.responses.create(
        model="demo",
        temperature=0,
        instructions="Your name is Bo.",
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "What is a fox?"}]},
            {"role": "assistant", "content": "A wild animal."},
            {"type": "message", "role": "user", "content": "What is your name?"},
        ],
        metadata={"who": "ann"},
    )
    assert "Bo" in check(response).output_text and response.metadata == {"who": "ann"}


def test_a_length_makes_it_incomplete(client):
    response = check(client.responses.create(**ASK, max_output_tokens=3))
    assert response.status == "incomplete" and response.incomplete_details.reason == "max_output_tokens"
    assert response.usage.output_tokens == 3


def test_headers_and_metrics(client):
    raw = client.responses.with_raw_response.create(**ASK, extra_body={"include_metrics": True})
    response = check(raw.parse(), "$.metrics")
    check_metrics(response.model_extra["metrics"])

    class Usage:
        prompt_tokens, completion_tokens = response.usage.input_tokens, response.usage.output_tokens

    check_stats_headers(raw.headers, Usage)


def test_a_stream_has_its_events_in_order(client):
    events = [check(event) for event in client.responses.create(**ASK, stream=True)]
    types = [event.type for event in events]
    assert types[:2] == ["response.created", "response.in_progress"] and types[-1] == "response.completed"
    numbers = [event.sequence_number for event in events]
    assert numbers == sorted(set(numbers)) and numbers[0] == 0
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert deltas == client.responses.create(**ASK).output_text == events[-1].response.output_text
    for once in ("response.output_item.added", "response.content_part.added", "response.output_text.done"):
        assert types.count(once) == 1, types


def test_a_cut_stream_ends_incomplete(client):
    *_, last = client.responses.create(**ASK, max_output_tokens=3, stream=True, extra_body={"include_metrics": True})
    assert last.type == "response.incomplete" and last.response.incomplete_details.reason == "max_output_tokens"
    check_metrics(last.response.model_extra["metrics"])


def test_the_helper_accumulates(client):
    with client.responses.stream(**ASK) as stream:
        for _ in stream:
            pass
        final = stream.get_final_response()
    assert final.output_text == client.responses.create(**ASK).output_text


def test_parse_gives_the_model(client):
    response = client.responses.parse(**(ASK | {"temperature": 1}), text_format=Fox)
    assert isinstance(response.output_parsed, Fox)
    with client.responses.stream(**(ASK | {"temperature": 1}), text_format=Fox) as stream:
        for _ in stream:
            pass
        assert isinstance(stream.get_final_response().output_parsed, Fox)


def test_a_tool_is_called_and_its_result_becomes_an_answer(client):
    first = check(client.responses.create(**CALL))
    [call] = [item for item in first.output if item.type == "function_call"]
    assert call.name == "get_weather" and json.loads(call.arguments) == {"city": "Rome"} and call.call_id
    items = [
        {"role": "user", "content": CALL["input"]},
        call.model_dump(exclude_none=True),
        {"type": "function_call_output", "call_id": call.call_id, "output": '{"sky": "sunny", "degrees": 21}'},
    ]
    answer = check(client.responses.create(**(CALL | {"input": items})))
    assert "sunny" in answer.output_text


def test_streamed_calls(client):
    events = list(client.responses.create(**CALL, stream=True))
    arguments = "".join(e.delta for e in events if e.type == "response.function_call_arguments.delta")
    [done] = [e for e in events if e.type == "response.function_call_arguments.done"]
    assert json.loads(arguments) == json.loads(done.arguments) == {"city": "Rome"}
    assert events[-1].response.output[-1].type == "function_call"


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "get_weather"}])
def test_tool_choice(client, choice):
    response = check(client.responses.create(**(CALL | {"input": "What is a fox?"}), tool_choice=choice))
    assert [item.name for item in response.output if item.type == "function_call"] == ["get_weather"]


def test_a_previous_response_that_is_not_there_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as missing:
        client.responses.create(**ASK, previous_response_id="resp_none")
    assert missing.value.type == "invalid_request_error" and missing.value.param == "previous_response_id"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"temperature": -1}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"top_p": 2}, "top_p"),
    ],
)
def test_refusals(client, fields, param):
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(**(ASK | fields))
    assert refused.value.param.startswith(param) and param in refused.value.message


@pytest.mark.anyio
async def test_async(async_client):
    whole = check(await async_client.responses.create(**ASK))
    stream = await async_client.responses.create(**ASK, stream=True)
    deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
    assert "".join(deltas) == whole.output_text
