"""Every field of OpenAI's requests, as the pinned SDK lists them, is on the HTTP page as honoured, refused or ignored, and the
server does what the page says."""

import re
from pathlib import Path

import httpx
import pytest
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params
from wanted import FOX, WEATHER, WEATHER_SCHEMA

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "http.md"

# A route: its fields by OpenAI, and the least request.
ROUTES = {
    "/v1/chat/completions": (chat_create_params.CompletionCreateParamsBase, {"model": "demo", "messages": FOX}),
    "/v1/completions": (completion_create_params.CompletionCreateParamsBase, {"model": "demo", "prompt": "Once"}),
    "/v1/responses": (response_create_params.ResponseCreateParamsBase, {"model": "demo", "input": "What is a fox?"}),
    "/v1/embeddings": (embedding_create_params.EmbeddingCreateParams, {"model": "embed", "input": "a fox"}),
}

RESPONSES_TOOL = {"type": "function", "name": "f", "parameters": WEATHER_SCHEMA}
# A value of each field that asks for something, with what else it needs.
VALUES = {
    "audio": {"audio": {"voice": "alloy", "format": "wav"}},
    "modalities": {"modalities": ["text", "audio"]},
    "functions": {"functions": [{"name": "f", "parameters": WEATHER_SCHEMA}]},
    "function_call": {"function_call": "auto"},
    "web_search_options": {"web_search_options": {"search_context_size": "low"}},
    "moderation": {"moderation": {"model": "omni-moderation-latest"}},
    "metadata": {"metadata": {"who": "ann"}},
    "store": {"store": True},
    "prediction": {"prediction": {"type": "content", "content": "A fox"}},
    "verbosity": {"verbosity": "low"},
    "service_tier": {"service_tier": "auto"},
    "safety_identifier": {"safety_identifier": "ann"},
    "prompt_cache_key": {"prompt_cache_key": "a"},
    "prompt_cache_options": {"prompt_cache_options": {"mode": "explicit"}},
    "prompt_cache_retention": {"prompt_cache_retention": "24h"},
    "reasoning_effort": {"reasoning_effort": "low"},
    "frequency_penalty": {"frequency_penalty": 0.5},
    "presence_penalty": {"presence_penalty": 0.5},
    "logit_bias": {"logit_bias": {"5": -1}},
    "logprobs": {"logprobs": True},
    "top_logprobs": {"top_logprobs": 2},
    "max_completion_tokens": {"max_completion_tokens": 3},
    "max_tokens": {"max_tokens": 3},
    "max_output_tokens": {"max_output_tokens": 3},
    "max_tool_calls": {"max_tool_calls": 3},
    "n": {"n": 2},
    "seed": {"seed": 1},
    "stop": {"stop": "."},
    "stream_options": {"stream": True, "stream_options": {"include_obfuscation": False}},
    "temperature": {"temperature": 0.5},
    "top_p": {"top_p": 0.5},
    "user": {"user": "ann"},
    "response_format": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": WEATHER_SCHEMA}}
    },
    "tools": {"tools": [WEATHER]},
    "tool_choice": {"tool_choice": "required", "tools": [WEATHER]},
    "parallel_tool_calls": {"parallel_tool_calls": False, "tools": [WEATHER]},
    "best_of": {"best_of": 2},
    "echo": {"echo": True},
    "suffix": {"suffix": "the end"},
    "dimensions": {"dimensions": 384},
    "encoding_format": {"encoding_format": "base64"},
    "access_programs": {"access_programs": ["a"]},
    "background": {"background": True},
    "background_options": {"background_options": {"a": 1}},
    "context_management": {"context_management": [{"type": "compaction"}]},
    "conversation": {"conversation": "conv_1"},
    "image": {"image": {"a": 1}},
    "include": {"include": ["message.output_text.logprobs"]},
    "instructions": {"instructions": "Your name is Bo."},
    "prompt": {"prompt": {"id": "pmpt_1"}},
    "reasoning": {"reasoning": {"effort": "low"}},
    "text": {"text": {"format": {"type": "json_schema", "name": "a", "schema": WEATHER_SCHEMA}}},
    "truncation": {"truncation": "disabled"},
}
# Where the same name means another thing.
OF_ROUTE = {
    ("/v1/completions", "logprobs"): {"logprobs": 2},
    ("/v1/chat/completions", "top_logprobs"): {"top_logprobs": 2, "logprobs": True},
    ("/v1/responses", "top_logprobs"): {"top_logprobs": 2, "include": ["message.output_text.logprobs"]},
    ("/v1/responses", "tools"): {"tools": [RESPONSES_TOOL]},
    ("/v1/responses", "tool_choice"): {"tool_choice": "required", "tools": [RESPONSES_TOOL]},
    ("/v1/responses", "parallel_tool_calls"): {"parallel_tool_calls": False, "tools": [RESPONSES_TOOL]},
}


def classified(route):
    """What the page says of each field of a route: `honoured`, `refused` or `ignored`."""
    section = PAGE.read_text().split(f"## `POST {route}`\n", 1)[1].split("\n## ", 1)[0]
    found, table = {}, None
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] in ("field", "refused field", "ignored field"):
            table = {"field": "honoured", "refused field": "refused", "ignored field": "ignored"}[cells[0]]
        elif match := re.fullmatch(r"`(\w+)`", cells[0]):
            assert match[1] not in found, f"{match[1]} is twice on the page"
            says_refused = table == "honoured" and re.search(r"\b(Refused|Not honoured)\b", line)
            found[match[1]] = "refused" if says_refused else table
    return found


def official(route):
    """OpenAI's fields of a route, without those that every request has, and one that takes two requests."""
    return sorted(set(ROUTES[route][0].__annotations__) - set(ROUTES[route][1]) - {"previous_response_id"})


CASES = [(route, field) for route in ROUTES for field in official(route)]


@pytest.mark.parametrize("route", ROUTES)
def test_every_official_field_is_on_the_page(route):
    missing = sorted(set(ROUTES[route][0].__annotations__) - set(classified(route)))
    assert missing == []


@pytest.mark.parametrize(
    ("route", "field"), CASES, ids=[f"{route.removeprefix('/v1/')}-{field}" for route, field in CASES]
)
def test_the_server_does_what_the_page_says(route, field, servers):
    extra = OF_ROUTE.get((route, field)) or VALUES[field]
    body = ROUTES[route][1] | extra
    if "max" not in field and route != "/v1/embeddings":
        body |= {"max_output_tokens" if route == "/v1/responses" else "max_tokens": 5}
    server = servers.embed if route == "/v1/embeddings" else servers.demo
    says = classified(route)[field]
    answer = httpx.post(f"{server.root}{route}", json=body, timeout=60)
    if says == "refused":
        error = answer.json()["error"]
        assert answer.status_code == 400 and re.match(rf"{field}\b", error["param"]), answer.text
        assert field in error["message"]
    else:
        assert answer.status_code == 200, answer.text
