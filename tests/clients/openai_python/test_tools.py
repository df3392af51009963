"""Tool calls: chosen by the model, required, named; streamed; and given back with their results."""

import json
from typing import Literal

import openai
import pytest
from pydantic import BaseModel
from strict import check
from wanted import FOX, TIME, WEATHER, WEATHER_QUESTION, bounded

ASK = {"model": "demo", "messages": WEATHER_QUESTION, "tools": [WEATHER, TIME], "temperature": 0, "max_tokens": 200}
BOUNDED = ASK | {"tools": [bounded(WEATHER), bounded(TIME)]}
NAMED = {"type": "function", "function": {"name": "get_time"}}


def calls(answer):
    return answer.choices[0].message.tool_calls


def accumulate(chunks):
    """The calls of a stream, put together by index as every client does."""
    found, finished = {}, None
    for chunk in chunks:
        for choice in check(chunk).choices:
            finished = choice.finish_reason or finished
            for delta in choice.delta.tool_calls or []:
                call = found.setdefault(delta.index, {"id": None, "name": "", "arguments": ""})
                call["id"] = delta.id or call["id"]
                call["name"] += (delta.function.name or "") if delta.function else ""
                call["arguments"] += (delta.function.arguments or "") if delta.function else ""
    return [found[index] for index in sorted(found)], finished


def test_the_model_calls_a_tool_that_fits(client):
    answer = check(client.chat.completions.create(**ASK))
    [call] = calls(answer)
    assert answer.choices[0].finish_reason == "tool_calls" and call.type == "function" and call.id
    assert call.function.name == "get_weather" and json.loads(call.function.arguments) == {"city": "Rome"}
    assert not answer.choices[0].message.content


def test_the_model_answers_without_a_tool_where_none_fits(client):
    answer = check(client.chat.completions.create(**(ASK | {"messages": FOX}), tool_choice="auto"))
    assert answer.choices[0].finish_reason == "stop" and not calls(answer)
    assert "fox" in answer.choices[0].message.content.lower()


def test_none_calls_no_tool(client):
    answer = check(client.chat.completions.create(**ASK, tool_choice="none"))
    assert answer.choices[0].finish_reason == "stop" and not calls(answer) and answer.choices[0].message.content


@pytest.mark.parametrize("temperature", [0, 2])
def test_a_named_tool_is_called(client, temperature):
    answer = check(client.chat.completions.create(**(BOUNDED | {"temperature": temperature}), seed=1, tool_choice=NAMED))
    [call] = calls(answer)
    assert call.function.name == "get_time" and list(json.loads(call.function.arguments)) == ["city"]
    # As OpenAI's: a call that the client asked for is no choice of the model's.
    assert answer.choices[0].finish_reason in ("stop", "tool_calls")


@pytest.mark.parametrize("temperature", [0, 2])
def test_a_required_call_is_one_of_the_tools(client, temperature):
    ask = BOUNDED | {"messages": FOX, "temperature": temperature}
    answer = check(client.chat.completions.create(**ask, seed=1, tool_choice="required", parallel_tool_calls=False))
    [call] = calls(answer)
    assert call.function.name in ("get_weather", "get_time") and list(json.loads(call.function.arguments)) == ["city"]


@pytest.mark.parametrize("choice", ["auto", "required", NAMED])
def test_streamed_calls_are_the_whole_ones(client, choice):
    ask = ASK | {"tool_choice": choice, "parallel_tool_calls": False}
    [whole] = calls(client.chat.completions.create(**ask))
    [streamed], finished = accumulate(client.chat.completions.create(**ask, stream=True))
    assert streamed["id"] and finished in ("tool_calls", "stop")
    assert (streamed["name"], json.loads(streamed["arguments"])) == (
        whole.function.name,
        json.loads(whole.function.arguments),
    )


def test_the_streaming_helper_accumulates_calls(client):
    with client.chat.completions.stream(**ASK) as stream:
        types = {event.type for event in stream}
        final = stream.get_final_completion()
    [call] = calls(final)
    assert "tool_calls.function.arguments.done" in types
    assert call.function.name == "get_weather" and json.loads(call.function.arguments) == {"city": "Rome"}


class get_weather(BaseModel):
    """Get the weather in a city"""

    city: Literal["Rome", "Paris"]


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_parse_gives_arguments_as_a_model(client, choice):
    tools = [openai.pydantic_function_tool(get_weather)]
    answer = client.chat.completions.parse(**(ASK | {"tools": tools}), tool_choice=choice)
    [call] = calls(answer)
    assert call.function.parsed_arguments == get_weather(city="Rome")


def test_a_result_becomes_an_answer(client):
    first = client.chat.completions.create(**ASK)
    [call] = calls(first)
    answer = client.chat.completions.create(
        **(
            ASK
            | {
                "messages": [
                    *WEATHER_QUESTION,
                    first.choices[0].message.model_dump(exclude_none=True),
                    {"role": "tool", "tool_call_id": call.id, "content": '{"sky": "sunny", "degrees": 21}'},
                ]
            }
        )
    )
    text = check(answer).choices[0].message.content
    assert "sunny" in text and "21" in text and answer.choices[0].finish_reason == "stop"


def test_ids_of_calls_are_distinct(client):
    ids = {calls(client.chat.completions.create(**ASK))[0].id for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.anyio
async def test_async_streamed_calls(async_client):
    stream = await async_client.chat.completions.create(**ASK, stream=True)
    [call], finished = accumulate([chunk async for chunk in stream])
    assert call["name"] == "get_weather" and finished == "tool_calls"
