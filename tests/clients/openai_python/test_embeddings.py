"""Embeddings."""

import math

import openai
import pytest
from strict import check as check_keys
from wanted import check_stats_headers

MODEL = "embed"
TEXTS = ["A fox is a wild animal.", "Foxes live in the forest.", "The invoice is due on Monday."]


def check(response):
    """vLLM's responses have an id and a time, and so do these."""
    return check_keys(response, "$.id", "$.created")


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_the_default_is_base64_on_the_wire_and_floats_here(embedder):
    raw = embedder.embeddings.with_raw_response.create(model=MODEL, input=TEXTS[0])
    assert isinstance(raw.http_response.json()["data"][0]["embedding"], str)
    response = check(raw.parse())
    [embedding] = response.data
    assert response.object == "list" and response.model == MODEL and embedding.object == "embedding"
    assert abs(dot(embedding.embedding, embedding.embedding) - 1) < 1e-3, "normalized"
    assert response.usage.prompt_tokens == response.usage.total_tokens > 0
    check_stats_headers(raw.headers, response.usage)


def test_floats_are_the_same_numbers(embedder):
    by_default = embedder.embeddings.create(model=MODEL, input=TEXTS)
    floats = check(embedder.embeddings.create(model=MODEL, input=TEXTS, encoding_format="float"))
    assert [e.index for e in floats.data] == [0, 1, 2]
    for one, other in zip(by_default.data, floats.data, strict=True):
        assert max(abs(a - b) for a, b in zip(one.embedding, other.embedding, strict=True)) < 1e-6


def test_likeness_is_likeness_of_meaning(embedder):
    fox, foxes, invoice = (e.embedding for e in embedder.embeddings.create(model=MODEL, input=TEXTS).data)
    assert dot(fox, foxes) > dot(fox, invoice) + 0.2


def test_several_inputs_have_no_stats_headers(embedder):
    raw = embedder.embeddings.with_raw_response.create(model=MODEL, input=TEXTS)
    assert "x-vllm-total-time" not in raw.headers


def test_a_batch_equals_its_members(embedder):
    together = embedder.embeddings.create(model=MODEL, input=TEXTS).data
    for text, inside in zip(TEXTS, together, strict=True):
        alone = embedder.embeddings.create(model=MODEL, input=text).data[0]
        assert max(abs(a - b) for a, b in zip(alone.embedding, inside.embedding, strict=True)) < 1e-5


def test_token_ids_are_taken(embedder):
    check(embedder.embeddings.create(model=MODEL, input=[101, 2002, 102]))
    two = check(embedder.embeddings.create(model=MODEL, input=[[101, 2002, 102], [101, 102]], user="ann"))
    assert len(two.data) == 2


def test_bad_input_is_refused(embedder):
    for fields, param in (
        ({"input": []}, "input"),
        ({"input": [10_000_000]}, "input"),
        ({"input": "a", "dimensions": 1_000_000}, "dimensions"),
        ({"input": "a", "extra_body": {"encoding_format": "hex"}}, "encoding_format"),
        ({"input": "fox " * 100_000}, "input"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            embedder.embeddings.create(model=MODEL, **fields)
        assert refused.value.param.startswith(param) and param in refused.value.message, fields


def test_chats_of_an_embedding_model_are_refused(embedder):
    with pytest.raises(openai.BadRequestError, match=MODEL):
        embedder.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "a"}])


@pytest.mark.anyio
async def test_async(servers):
    async with openai.AsyncOpenAI(base_url=servers.embed.url, api_key="unused", max_retries=0) as client:
        response = check(await client.embeddings.create(model=MODEL, input=TEXTS))
    assert all(math.isfinite(x) for e in response.data for x in e.embedding)
