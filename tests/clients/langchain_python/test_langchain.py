"""LangChain's ChatOpenAI and OpenAIEmbeddings."""

import asyncio

import openai
import pytest
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field

FOX = "What is a fox?"


class Animal(BaseModel):
    """An animal."""

    legs: int = Field(ge=0, le=8)
    wild: bool


@tool
def get_weather(city: str) -> str:
    """Get the weather in a city"""
    return '{"sky": "sunny", "degrees": 21}'


@pytest.fixture(scope="module")
def make(servers):
    def make(**fields):
        fields = {"model": "demo", "temperature": 0, "max_retries": 0, "timeout": 60} | fields
        return ChatOpenAI(base_url=servers.demo.url, api_key="unused", **fields)

    return make


@pytest.fixture(scope="module")
def model(make):
    return make()


def test_invoke_gives_a_message_with_its_usage(model):
    answer = model.invoke(FOX)
    assert isinstance(answer, AIMessage) and "fox" in answer.content.lower()
    usage = answer.usage_metadata
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.response_metadata["model_name"] == "demo" and answer.response_metadata["id"].startswith("chatcmpl-")


def test_roles_and_parts_of_content(model):
    messages = [
        SystemMessage("Your name is Bo."),
        HumanMessage(content=[{"type": "text", "text": FOX}]),
        AIMessage("A wild animal."),
        HumanMessage("What is your name?"),
    ]
    assert "Bo" in model.invoke(messages).content


def test_headers_are_in_the_metadata(make):
    headers = make(include_response_headers=True).invoke(FOX).response_metadata["headers"]
    assert float(headers["x-candela-compute-time"]) > 0 and int(headers["x-vllm-completion-tokens"]) > 0


def test_a_stream_is_the_whole_answer_with_its_usage(make):
    model = make(stream_usage=True)
    total = None
    for chunk in model.stream(FOX):
        total = chunk if total is None else total + chunk
    assert total.content == model.invoke(FOX).content
    assert total.usage_metadata["output_tokens"] > 0 and total.response_metadata["finish_reason"] == "stop"


def test_metrics_can_be_asked_for(make):
    raw = make(extra_body={"include_metrics": True}).root_client.chat.completions.create(
        model="demo", messages=[{"role": "user", "content": FOX}], extra_body={"include_metrics": True}
    )
    assert raw.model_extra["metrics"]["compute_time_ms"] > 0


def test_batches(model):
    answers = model.batch([FOX, "What is a dog?", "What is a cat?"])
    for answer, animal in zip(answers, ("fox", "dog", "cat"), strict=True):
        assert animal in answer.content.lower()


def test_fields_of_sampling_reach_the_server(make):
    answers = [make(temperature=1.5, seed=seed, max_tokens=12).invoke("Tell me a story.").content for seed in (1, 1, 2)]
    assert answers[0] == answers[1] != answers[2]
    assert make(stop_sequences=[" is"]).invoke(FOX).content.endswith("fox")


def test_log_probabilities(make):
    answer = make(logprobs=True, top_logprobs=2, max_tokens=4).invoke(FOX)
    tokens = answer.response_metadata["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == answer.content and len(tokens[0]["top_logprobs"]) == 2


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(make, method):
    model = make(temperature=1, seed=2, max_tokens=200).with_structured_output(Animal, method=method)
    assert isinstance(model.invoke(FOX), Animal)


def test_json_mode(model):
    answer = model.with_structured_output(None, method="json_mode").invoke("What is the capital of France?")
    assert isinstance(answer, dict) and answer


def test_tools_are_called_and_their_results_answered(model):
    with_tools = model.bind_tools([get_weather])
    messages = [HumanMessage("What is the weather in Rome?")]
    call = with_tools.invoke(messages)
    assert [(c["name"], c["args"]) for c in call.tool_calls] == [("get_weather", {"city": "Rome"})]
    result = get_weather.invoke(call.tool_calls[0])
    assert isinstance(result, ToolMessage)
    assert "sunny" in with_tools.invoke([*messages, call, result]).content


def test_streamed_tool_calls(model):
    total = None
    for chunk in model.bind_tools([get_weather]).stream("What is the weather in Rome?"):
        total = chunk if total is None else total + chunk
    assert [(c["name"], c["args"]) for c in total.tool_calls] == [("get_weather", {"city": "Rome"})]


@pytest.mark.parametrize("choice", ["any", "get_weather"])
def test_a_tool_can_be_forced(model, choice):
    answer = model.bind_tools([get_weather], tool_choice=choice, parallel_tool_calls=False).invoke(FOX)
    assert [c["name"] for c in answer.tool_calls] == ["get_weather"]


def test_the_responses_api(make):
    answer = make(use_responses_api=True).invoke(FOX)
    assert "fox" in answer.text.lower() and answer.usage_metadata["output_tokens"] > 0


def test_errors_are_the_sdks(make):
    with pytest.raises(openai.BadRequestError, match="temperature"):
        make(temperature=-1).invoke(FOX)
    with pytest.raises(openai.NotFoundError):
        make(model="gpt-9").invoke(FOX)
    with pytest.raises(ContextOverflowError):
        make().invoke("fox " * 4000)


def test_async(model):
    async def ask():
        answers = await asyncio.gather(*(model.ainvoke(f"What is a {animal}?") for animal in ("fox", "dog")))
        chunks = [chunk async for chunk in model.astream(FOX)]
        return answers, "".join(chunk.content for chunk in chunks)

    answers, streamed = asyncio.run(ask())
    assert "fox" in answers[0].content.lower() and streamed == answers[0].content


# By default the text is turned into tokens of OpenAI's own models before it is sent, which are not this model's.
@pytest.fixture(scope="module")
def embeddings(servers):
    return OpenAIEmbeddings(
        base_url=servers.embed.url, api_key="unused", model="embed", check_embedding_ctx_length=False, max_retries=0
    )


def test_embeddings(embeddings):
    fox, foxes, invoice = embeddings.embed_documents(
        ["A fox is a wild animal.", "Foxes live in the forest.", "The invoice is due on Monday."]
    )

    def dot(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert dot(fox, foxes) > dot(fox, invoice) + 0.2
    query = embeddings.embed_query("A fox is a wild animal.")
    assert max(abs(a - b) for a, b in zip(fox, query, strict=True)) < 1e-5
    assert asyncio.run(embeddings.aembed_query("A fox is a wild animal.")) == query
