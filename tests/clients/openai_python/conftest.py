"""Clients of the `openai` Python SDK that validate every response and repeat no request."""

import openai
import pytest


def strict(kind, url, key="unused"):
    return kind(base_url=url, api_key=key, max_retries=0, timeout=60, _strict_response_validation=True)


@pytest.fixture(scope="session")
def client(servers):
    with strict(openai.OpenAI, servers.demo.url) as client:
        yield client


@pytest.fixture(scope="session")
def lenient(servers):
    """For the two places where what OpenAI sends is not what its types say: null as the reason of a text completion that goes
    on, and as the log probability of a prompt's first token."""
    with openai.OpenAI(base_url=servers.demo.url, api_key="unused", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def embedder(servers):
    """Not strict: the SDK would hold base64 against the type of what it makes of it."""
    with openai.OpenAI(base_url=servers.embed.url, api_key="unused", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture
async def async_client(servers):
    async with strict(openai.AsyncOpenAI, servers.demo.url) as client:
        yield client


@pytest.fixture
def connect():
    """Makes a client of another server or with another key."""
    made = []

    def make(url, key="unused"):
        made.append(strict(openai.OpenAI, url, key))
        return made[-1]

    yield make
    for client in made:
        client.close()
