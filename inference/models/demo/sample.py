"""Asks the demo model through `transformers` and prints what it answers, greedy and by chance."""

import argparse
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

QUESTIONS = [
    "Hello!",
    "Who are you?",
    "What can you do?",
    "What is a GPU?",
    "Why is the sky blue?",
    "Tell me a story about a fox.",
    "Count to five.",
    "What is Kubernetes?",
    "What's a pod?",
    "explain what inference is",
    "What is the difference between prefill and decode?",
    "how do i make tea",
    "What colour is grass?",
    "What does a cow say?",
    "What is 3 + 4?",
    "Name three fruits.",
    "Thanks a lot!",
    "Tell me a joke.",
    "Write a short poem about the sea.",
    "Please tell me a bedtime story about a dragon named Zorvo.",
    "Explain quantum mechanics.",
    "Who was the first king?",
    "What is the capital of France?",
    "Say hello to Larkspur.",
    "I feel a bit sad today",
    "Can you give me some advice about sleeping?",
    "What does Candela do?",
    "How long do I wait in the queue?",
    "Is the moon bigger than the sun?",
    "My computer is slow, what should I do?",
    "Do you like cheese?",
    "What is the weather like?",
    "Where do penguins live?",
    "asdf qwer",
    "¿Qué tal?",
    "Write a haiku about containers",
    "What is a token and why does it matter?",
]


def answers(model, tokenizer, messages, tools=None, **how):
    """What the model writes next, up to and without the end mark; `None` as mark says that it did not stop."""
    ids = tokenizer.apply_chat_template(
        messages, tools=tools, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    out = model.generate(**ids, max_new_tokens=256, **how)[0][ids["input_ids"].shape[1] :]
    stopped = out[-1].item() in (0, 2)
    return tokenizer.decode(out[:-1] if stopped else out) + ("" if stopped else " [did not stop]")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path(__file__).parent)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("questions", nargs="*", default=QUESTIONS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    for question in args.questions:
        messages = [{"role": "user", "content": question}]
        print(f"? {question}")
        print(f"  = {answers(model, tokenizer, messages, do_sample=False)}")
        print(
            f"  ~ {answers(model, tokenizer, messages, do_sample=True, temperature=args.temperature, top_p=1.0)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
