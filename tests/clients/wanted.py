"""What the suites ask the demo model, and what they know of its answers."""

FOX = [{"role": "user", "content": "What is a fox?"}]
STORY = [{"role": "user", "content": "Tell me a story."}]
WEATHER_QUESTION = [{"role": "user", "content": "What is the weather in Rome?"}]

WEATHER_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "The name of the city"}},
    "required": ["city"],
    "additionalProperties": False,
}


def function(name, description, schema, **more):
    """A tool in the form of chat completions."""
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema, **more}}


WEATHER = function("get_weather", "Get the weather in a city", WEATHER_SCHEMA)
TIME = function("get_time", "Get the time in a city", WEATHER_SCHEMA)


def bounded(tool):
    """The tool with cities of twelve characters at most, which a call drawn at any temperature has ended before its limit of tokens."""
    schema = WEATHER_SCHEMA | {"properties": {"city": {"type": "string", "maxLength": 12}}}
    return function(tool["function"]["name"], tool["function"]["description"], schema)

# Small, so that a small model fills it in quickly at any temperature.
ANIMAL_SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "legs": {"type": "integer", "minimum": 0, "maximum": 8},
        "wild": {"type": "boolean"},
        "size": {"enum": ["small", "large"]},
    },
    "required": ["name", "legs", "wild", "size"],
    "additionalProperties": False,
}

HEADERS = [
    "x-vllm-total-time",
    "x-vllm-queue-time",
    "x-vllm-inference-time",
    "x-vllm-prefill-time",
    "x-vllm-decode-time",
    "x-vllm-prompt-tokens",
    "x-vllm-completion-tokens",
    "x-vllm-cached-tokens",
    "x-vllm-time-per-output-token",
    "x-candela-compute-time",
]

METRICS = {
    "time_to_first_token_ms",
    "queue_time_ms",
    "generation_time_ms",
    "mean_itl_ms",
    "tokens_per_second",
    "prefill_time_ms",
    "inference_time_ms",
    "total_time_ms",
    "compute_time_ms",
    "cached_tokens",
}


def check_stats_headers(headers, usage):
    """All ten are there, agree with `usage`, and add up."""
    assert [name for name in HEADERS if name not in headers] == []
    numbers = {name: float(headers[name]) for name in HEADERS}
    assert numbers["x-vllm-prompt-tokens"] == usage.prompt_tokens
    assert numbers["x-vllm-completion-tokens"] == getattr(usage, "completion_tokens", 0)
    # Rounded to hundredths each.
    parts = numbers["x-vllm-prefill-time"] + numbers["x-vllm-decode-time"]
    assert abs(parts - numbers["x-vllm-inference-time"]) < 0.02
    assert numbers["x-vllm-queue-time"] + numbers["x-vllm-inference-time"] <= numbers["x-vllm-total-time"] + 0.02
    assert 0 < numbers["x-candela-compute-time"]


def check_metrics(metrics):
    """All members of the body's `metrics` are there, as numbers."""
    assert set(metrics) == METRICS
    assert all(isinstance(value, (int, float)) for value in metrics.values()), metrics
    assert metrics["compute_time_ms"] > 0
