"""Refusals arrive as the SDK's own exceptions, and name the field."""

import openai
import pytest
from wanted import FOX, WEATHER

ASK = {"model": "demo", "messages": FOX}

REFUSED = {
    "temperature below 0": ({"temperature": -1}, "temperature"),
    "top_p of 0": ({"top_p": 0}, "top_p"),
    "n of 0": ({"n": 0}, "n"),
    "n beyond the bound": ({"n": 1_000_000}, "n"),
    "max_tokens of 0": ({"max_tokens": 0}, "max_tokens"),
    "max_tokens beyond the context": ({"max_completion_tokens": 10_000}, "max_completion_tokens"),
    "no messages": ({"messages": []}, "messages"),
    "messages of another type": ({"messages": "What is a fox?"}, "messages"),
    "an image": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
        "messages[0].content[0].type",
    ),
    "an empty stop string": ({"stop": ""}, "stop"),
    "an empty list of tools": ({"tools": []}, "tools"),
    "tool_choice without tools": ({"tool_choice": "auto"}, "tool_choice"),
    "a tool that is not there": (
        {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "other"}}},
        "tool_choice",
    ),
    "top_logprobs alone": ({"top_logprobs": 2}, "top_logprobs"),
    "too many top_logprobs": ({"logprobs": True, "top_logprobs": 1000}, "top_logprobs"),
    "stream_options alone": ({"stream_options": {"include_usage": True}}, "stream_options"),
    "a bias out of range": ({"logit_bias": {"5": 101}}, "logit_bias"),
    "a bias of no token": ({"logit_bias": {"999999": 1}}, "logit_bias"),
    "a penalty out of range": ({"presence_penalty": 3}, "presence_penalty"),
    "a schema that is none": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "nonsense"}}}},
        "response_format",
    ),
    "a regex that does not compile": ({"extra_body": {"structured_outputs": {"regex": "(("}}}, "structured_outputs"),
    "another type": ({"extra_body": {"min_tokens": "many"}}, "min_tokens"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_field_is_a_bad_request_that_names_it(client, case):
    fields, param = REFUSED[case]
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**(ASK | fields))
    error = refused.value
    assert error.status_code == 400 and error.type == "BadRequestError" and error.code == "400"
    assert error.param and error.param.startswith(param), (error.param, error.message)
    assert error.param in error.message
    assert error.request_id


def test_a_bad_field_of_a_stream_is_refused_before_it_begins(client):
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**ASK, stream=True, temperature=-1)


def test_a_prompt_beyond_the_context_says_both_numbers(client):
    with pytest.raises(openai.BadRequestError, match=r"context length is 2048 tokens.*it has \d+"):
        client.chat.completions.create(model="demo", messages=[{"role": "user", "content": "fox " * 4000}])


def test_an_unknown_model_is_not_found(client):
    for ask in (
        lambda: client.chat.completions.create(model="gpt-9", messages=FOX),
        lambda: client.completions.create(model="gpt-9", prompt="a"),
        lambda: client.embeddings.create(model="gpt-9", input="a"),
        lambda: client.responses.create(model="gpt-9", input="a"),
        lambda: client.models.retrieve("gpt-9"),
    ):
        with pytest.raises(openai.NotFoundError, match="gpt-9") as missing:
            ask()
        assert missing.value.param == "model"


def test_an_unknown_route_is_not_found(client):
    with pytest.raises(openai.NotFoundError):
        client.moderations.create(input="a")


def test_embeddings_of_a_text_model_are_refused(client):
    with pytest.raises(openai.BadRequestError, match="demo"):
        client.embeddings.create(model="demo", input="a")


def test_a_key_is_needed_where_there_is_a_file_of_keys(connect, servers):
    for key in ("wrong", servers.key + "x", servers.key[:-1]):
        with pytest.raises(openai.AuthenticationError) as refused:
            connect(servers.keyed.url, key).models.list()
        assert key not in refused.value.message and refused.value.type == "AuthenticationError"
    known = connect(servers.keyed.url, servers.key)
    assert known.chat.completions.create(**ASK, max_tokens=1).choices


def test_a_server_that_is_not_there_is_a_connection_error(connect):
    with pytest.raises(openai.APIConnectionError):
        connect("http://127.0.0.1:9/v1").models.list()
