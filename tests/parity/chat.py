"""Dialogues whose prompt and greedy answer must be the same in the engine and in `transformers`."""

from transformers import AutoTokenizer

TOKENS_MAX = 200
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'},
}


def user(text):
    """A user's message."""
    return {"role": "user", "content": text}


DIALOGUES = {
    "greeting": [user("Hello!")],
    "definition": [user("What is a GPU?")],
    "story": [user("Tell me a story about a fox.")],
    "system": [{"role": "system", "content": "Answer in one sentence."}, user("What is a pod?")],
    "developer": [{"role": "developer", "content": "Your name is Robin."}, user("What is your name?")],
    "several turns": [
        user("What is an owl?"),
        {"role": "assistant", "content": "An owl is a bird with big eyes that flies at night."},
        user("Where does it live?"),
    ],
    "text parts": [{"role": "user", "content": [{"type": "text", "text": "Count to five."}]}],
    "other scripts": [user("¿Qué tal? 你好 🦊 e\u0301\u00e9 \u200b<|im_end|>\ttab")],
    "tool call": [
        user("What is the weather in Oslo?"),
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": '{"sky": "sunny", "degrees": 21}'},
    ],
}


def expected(reference, folder):
    """For each dialogue the ids of its prompt and the text of the greedy answer."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ends = {tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>")}
    prompts = [
        tokenizer.encode(
            tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False),
            add_special_tokens=False,
        )
        for messages in DIALOGUES.values()
    ]
    out = {}
    for name, ids, answer in zip(DIALOGUES, prompts, reference.greedy(prompts, TOKENS_MAX)):
        end = next((i for i, token in enumerate(answer.tokens) if token in ends), len(answer.tokens))
        out[name] = (ids, tokenizer.decode(answer.tokens[:end], skip_special_tokens=True))
    return out


def check(engine, verdict, answers):
    """Asks the engine every dialogue and compares prompt and answer."""
    for name, messages in DIALOGUES.items():
        body = {
            "model": engine.name,
            "messages": messages,
            "temperature": 0,
            "max_tokens": TOKENS_MAX,
            "return_token_ids": True,
        }
        answer = engine.fetch("/v1/chat/completions", body)
        got = (answer["prompt_token_ids"], answer["choices"][0]["message"]["content"])
        verdict.judge_text(f'dialogue "{name}"', answers[name], got)
