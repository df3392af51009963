"""Structured outputs: `parse` with pydantic models, response formats, and vLLM's constraints."""

import json
import re
from typing import Literal

import openai
import pytest
from pydantic import BaseModel, Field
from strict import check
from wanted import ANIMAL_SCHEMA, FOX

ASK = {"model": "demo", "messages": FOX, "max_tokens": 200}
QUESTION = {
    "model": "demo",
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "response_format": {"type": "json_object"},
    "max_tokens": 200,
}
SCHEMA_FORMAT = {"type": "json_schema", "json_schema": {"name": "animal", "schema": ANIMAL_SCHEMA, "strict": True}}


class Animal(BaseModel):
    name: str = Field(max_length=12)
    legs: int = Field(ge=0, le=8)
    wild: bool
    size: Literal["small", "large"]


def animal(text):
    return Animal.model_validate_json(text, strict=True)


@pytest.mark.parametrize("temperature", [0, 1, 5])
def test_parse_gives_the_model(client, temperature):
    parsed = client.chat.completions.parse(**ASK, temperature=temperature, seed=1, response_format=Animal)
    message = check(parsed).choices[0].message
    assert isinstance(message.parsed, Animal) and message.parsed == animal(message.content)
    assert parsed.choices[0].finish_reason == "stop"


def test_every_answer_of_several_parses(client):
    answer = client.chat.completions.create(**ASK, n=4, temperature=2, seed=2, response_format=SCHEMA_FORMAT)
    assert len({animal(choice.message.content) and choice.message.content for choice in answer.choices}) > 1


def test_a_streamed_answer_parses(client):
    with client.chat.completions.stream(**ASK, temperature=1, seed=3, response_format=Animal) as stream:
        types = {event.type for event in stream}
        message = stream.get_final_completion().choices[0].message
    assert "content.delta" in types and message.parsed == animal(message.content)
    chunks = client.chat.completions.create(**ASK, temperature=1, seed=3, response_format=SCHEMA_FORMAT, stream=True)
    assert animal("".join(check(chunk).choices[0].delta.content or "" for chunk in chunks))


def test_a_cut_answer_says_so(client):
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(**(ASK | {"max_tokens": 3}), temperature=0, response_format=Animal)


def test_json_object_is_an_object(client):
    answer = client.chat.completions.create(**QUESTION, temperature=0)
    assert check(answer).choices[0].finish_reason == "stop"
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


def test_json_objects_that_are_drawn(client):
    """Nothing bounds an object of any shape, so that some of these reach the limit of tokens; all others are whole."""
    choices = check(client.chat.completions.create(**QUESTION, temperature=1, seed=1, n=16)).choices
    ended = [choice.message.content for choice in choices if choice.finish_reason == "stop"]
    assert ended and all(isinstance(json.loads(content), dict) for content in ended)
    assert all(choice.message.content.lstrip().startswith("{") for choice in choices)


def test_text_is_no_constraint(client):
    free = client.chat.completions.create(**ASK, temperature=0)
    text = client.chat.completions.create(**ASK, temperature=0, response_format={"type": "text"})
    assert free.choices[0].message.content == text.choices[0].message.content


CONSTRAINTS = {
    "json": ({"json": ANIMAL_SCHEMA}, animal),
    "regex": ({"regex": r"[a-c]{3}-\d{2}"}, lambda text: re.fullmatch(r"[a-c]{3}-\d{2}", text)),
    "choice": ({"choice": ["red", "green", "blue"]}, lambda text: text in ("red", "green", "blue")),
    "grammar": (
        {"grammar": 'start: ("fox" | "dog") " " /[0-9]{1,2}/'},
        lambda text: re.fullmatch(r"(fox|dog) \d{1,2}", text),
    ),
}


@pytest.mark.parametrize("kind", CONSTRAINTS)
@pytest.mark.parametrize("temperature", [0, 2])
def test_vllms_constraints_hold(client, kind, temperature):
    constraint, holds = CONSTRAINTS[kind]
    answer = client.chat.completions.create(
        **ASK, temperature=temperature, seed=6, n=2 if temperature else 1, extra_body={"structured_outputs": constraint}
    )
    for choice in check(answer).choices:
        assert choice.finish_reason == "stop" and holds(choice.message.content), choice.message.content


def test_text_completions_are_constrained_too(client):
    answer = client.completions.create(
        model="demo", prompt="The colour is ", extra_body={"structured_outputs": {"choice": ["red", "blue"]}}
    )
    assert check(answer).choices[0].text in ("red", "blue")


@pytest.mark.anyio
async def test_constrained_and_free_requests_share_steps(async_client):
    import asyncio

    free = await async_client.chat.completions.create(**ASK, temperature=0)
    answers = await asyncio.gather(
        *(
            async_client.chat.completions.parse(**ASK, temperature=1, seed=seed, response_format=Animal)
            for seed in range(4)
        ),
        *(async_client.chat.completions.create(**ASK, temperature=0) for _ in range(4)),
    )
    assert all(isinstance(answer.choices[0].message.parsed, Animal) for answer in answers[:4])
    assert {answer.choices[0].message.content for answer in answers[4:]} == {free.choices[0].message.content}
