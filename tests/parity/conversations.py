"""Random conversations, as clients send them, and as `transformers` is given them."""

import json

WORDS = "the quick fox é 🦊 <think> </think> {x} [y] \"z\" it's\ttab &amp; ünï 你好 # % $".split(" ")
KEYS = ["city", "count", "options", "days ahead", "ß"]
TYPES = ["string", "number", "integer", "boolean", "array", "object", "unknown"]


def text(rng, shortest=0):
    """A few words, with space around them at times."""
    words = " ".join(rng.choice(WORDS) for _ in range(rng.randint(shortest, 6)))
    return rng.choice(["", "", " ", "\n"]) + words + rng.choice(["", "", " ", "\n"])


def value(rng, depth=0, exponents=True):
    """Any JSON, or JSON without numbers that are written with an exponent."""
    kind = rng.randrange(8 if depth < 2 else 6)
    if kind == 6:
        return [value(rng, depth + 1) for _ in range(rng.randint(0, 2))]
    if kind == 7:
        return {rng.choice(KEYS): value(rng, depth + 1) for _ in range(rng.randint(0, 2))}
    scalars = [None, rng.random() < 0.5, rng.randint(-5, 10**12), text(rng)]
    scalars += [rng.choice([0.1, -2.5, 12345.678, 100.0] + [1e-7, 3e22, 1e16] * exponents)]
    return rng.choice(scalars)


def parameters(rng, family):
    """The schema of a function's arguments."""
    properties = {}
    for key in rng.sample(KEYS, rng.randint(0, 3)):
        kind = rng.choice(TYPES)
        properties[key] = {"type": kind, "description": text(rng)}
        if kind == "array":
            properties[key]["items"] = {"type": "integer"}
        if rng.random() < 0.2:
            properties[key]["enum"] = [value(rng, 2, exponents=not family.prints_tools)]
    return {"type": "object", "properties": properties, "required": list(properties)[:1]}


def tool(rng, number, family):
    """A function."""
    function = {"name": f"do_{number}", "description": text(rng), "parameters": parameters(rng, family)}
    return {"type": "function", "function": function}


def call(rng, number):
    """A call in an assistant's message, its arguments as text."""
    arguments = {key: value(rng) for key in rng.sample(KEYS, rng.randint(0, 2))}
    written = json.dumps(arguments, ensure_ascii=rng.random() < 0.5)
    function = {"name": f"do_{number % 3}", "arguments": written}
    return {"id": f"{number:09d}", "type": "function", "function": function}


def content(rng, parts_allowed):
    """Text, or parts of text."""
    if parts_allowed and rng.random() < 0.3:
        return [{"type": "text", "text": text(rng)} for _ in range(rng.randint(1, 3))]
    return text(rng)


def messages(rng, family):
    """A conversation; most follow the usual order, some do not."""
    found = []
    if rng.random() < family.system:
        found.append({"role": rng.choice(["system", "system", "developer"]), "content": text(rng, 1)})
    for turn in range(rng.randint(1, 3)):
        found.append({"role": "user", "content": content(rng, family.sends_parts)})
        if rng.random() < family.calls:
            calls = [call(rng, turn * 3 + i) for i in range(rng.choice([1, 1, 2]))]
            message = {"role": "assistant", "content": rng.choice([None, "", text(rng)]), "tool_calls": calls}
            found.append(message)
            for one in calls:
                found.append({"role": "tool", "tool_call_id": one["id"], "content": text(rng)})
        if turn < 2 or rng.random() < 0.5:
            answer = {"role": "assistant", "content": text(rng)}
            if rng.random() < family.reasoning:
                answer[rng.choice(["reasoning", "reasoning_content"])] = text(rng, 1)
            if rng.random() < 0.3:
                # What SDKs send along when an answer is put back into the conversation.
                answer |= {"refusal": None, "function_call": None, "tool_calls": rng.choice([None, []])}
            found.append(answer)
    if rng.random() < 0.05:
        rng.shuffle(found)
    return found


def request(rng, family):
    """A body of `/v1/chat/completions`."""
    body = {"messages": messages(rng, family)}
    if rng.random() < family.tools:
        body["tools"] = [tool(rng, number, family) for number in range(rng.randint(1, 3))]
    kwargs = {name: rng.choice(values) for name, values in family.kwargs.items() if rng.random() < 0.5}
    if kwargs:
        body["chat_template_kwargs"] = kwargs
    last = body["messages"][-1]
    if last["role"] == "assistant" and last["content"] and last["content"].strip() and rng.random() < family.continued:
        body |= {"add_generation_prompt": False, "continue_final_message": True}
    elif rng.random() < 0.2:
        body["add_generation_prompt"] = False
    return body


def as_given(message, family):
    """What the template gets for a message: written down once more, from what the documentation says."""
    given = {"role": message["role"], "content": message["content"] or ""}
    if isinstance(given["content"], list) and family.reads == "text":
        given["content"] = "\n".join(part["text"] for part in given["content"])
    if isinstance(given["content"], str) and family.reads == "parts":
        given["content"] = [{"type": "text", "text": given["content"]}]
    for key, entry in message.items():
        if key in given or entry is None or (key == "tool_calls" and not entry):
            continue
        given[key] = entry
    if "tool_calls" in given:
        given["tool_calls"] = [
            one | {"function": one["function"] | {"arguments": json.loads(one["function"]["arguments"])}}
            for one in given["tool_calls"]
        ]
    thoughts = given.get("reasoning", given.get("reasoning_content"))
    if thoughts is not None:
        given |= {name: thoughts for name in ("reasoning", "reasoning_content", "thinking") if name not in given}
    return given
