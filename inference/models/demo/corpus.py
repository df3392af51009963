"""Writes the text that the demo model learns from: dialogues, stories and descriptions, all made here.

`python corpus.py --documents 20` prints some of it. A document is a list of messages (a dialogue, with
the tools it may call) or a plain text.
"""

import argparse
import json
import random

import answers
from questions import (
    ANIMALS,
    CITIES,
    COLOURS,
    TECH,
    THINGS,
    animal,
    bigger,
    calendar,
    capital,
    colour,
    definition,
    gibberish,
    listing,
    opposite,
    puzzle,
    reason,
    rhyme,
    sort_of,
    unknown,
    yes_no,
)
from stories import article, spin, story
from tasks import (
    counting,
    joke,
    more_talk,
    other_poem,
    poem,
    repeat,
    reworded,
    sentence,
    sums,
    talk,
    telling,
    weather,
    who,
)
from wording import a_name, made_up, named, noise

KINDS = [
    (definition, 20),
    (animal, 12),
    (reason, 16),
    (talk, 10),
    (who, 6),
    (joke, 1.5),
    (capital, 3),
    (colour, 3),
    (opposite, 2.5),
    (counting, 4),
    (sums, 4),
    (calendar, 2),
    (listing, 4),
    (yes_no, 5),
    (telling, 11),
    (poem, 2),
    (repeat, 3),
    (unknown, 6),
    (puzzle, 5),
    (gibberish, 1.5),
    (bigger, 2.5),
    (rhyme, 1),
    (sentence, 2),
    (sort_of, 1.5),
]


def exchange(rng, short=False):
    """One question and its answer, as (user, assistant)."""
    while True:
        kind = rng.choices([k for k, _ in KINDS], [w for _, w in KINDS])[0]
        question, answer = kind(rng)
        if kind not in (repeat, gibberish, telling, poem, counting, sums, sentence):
            question = noise(rng, question)
        if not short or len(answer) < 160:
            return question, answer


def turn(user, assistant):
    """The two messages of an exchange."""
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


def chat(rng):
    """A dialogue of one to four exchanges."""
    n = rng.choices([1, 2, 3, 4], [60, 20, 12, 8])[0]
    return [m for _ in range(n) for m in turn(*exchange(rng, short=n > 2))]


def more(rng):
    """A question and its follow-up."""
    roll = rng.random()
    if roll < 0.35:
        row = rng.choice(TECH + THINGS)
        one, many = named(row)
        return turn(noise(rng, f"What is {one}?"), f"{row[2]} {row[3]}") + turn(
            rng.choice(
                [
                    "Tell me more.",
                    "Can you tell me more?",
                    "More, please.",
                    "What else?",
                    "Go on.",
                    "Anything else?",
                    "Say more about that.",
                ]
            ),
            f"That is all I know about {many}. I am a very small model.",
        )
    if roll < 0.5:
        return pronouns(rng)
    if roll < 0.65:
        return turn(*telling(rng)) + turn(
            rng.choice(
                [
                    "Another one, please.",
                    "Tell me another one.",
                    "One more!",
                    "That was nice. Another one?",
                    "Again!",
                ]
            ),
            story(rng),
        )
    if roll < 0.77:
        return turn(*joke(rng)) + turn(
            rng.choice(["Another one, please.", "Tell me another one.", "One more!", "Haha. Another one?"]),
            rng.choice(answers.JOKES.strip().splitlines()),
        )
    first, second = exchange(rng, True), rng.choice(ANIMALS)
    return (
        turn(*first)
        + turn(
            rng.choice(["Thank you!", "Thanks.", "Great, thank you!", "Okay, thanks."]),
            "You are welcome! Ask me anything else if you like.",
        )
        + turn(
            f"And what is {article(second[0])}?",
            f"{article(second[0]).capitalize()} is {second[2]}. It lives {second[3]} and eats {second[4]}.",
        )
    )


def pronouns(rng):
    """Questions about what was named before."""
    name, many, what, home, food, says, legs, colour = rng.choice(ANIMALS)
    one = article(name)
    One = one[0].upper() + one[1:]
    asked = [
        ("Where does it live?", f"{One} lives {home}."),
        ("What does it eat?", f"{One} eats {food}."),
        ("How many legs does it have?", f"{One} has {legs} legs."),
        ("What colour is it?", f"{One} is {colour}."),
        ("Where do they live?", f"{One} lives {home}."),
        ("What do they eat?", f"{One} eats {food}."),
        ("Tell me a story about one.", story(rng, name)),
    ]
    if says != "is very quiet":
        asked.append(("What sound does it make?", f"{One} {says}."))
    out = turn(
        spin(rng, f"{{What is {one}?|Tell me about {many}.|Do you know {many}?|What are {many}?}}"),
        f"{One} is {what}. It lives {home} and eats {food}.",
    )
    for question, answer in rng.sample(asked, rng.randint(1, 3)):
        out += turn(rng.choice(["", "", "And ", "Okay. "]) + question, answer)
    return out


def remember(rng):
    """What the user said before."""
    name = a_name(rng)
    thing, kind = rng.choice(
        [
            (rng.choice([c for _, c in COLOURS]), "colour"),
            (rng.choice(ANIMALS)[0], "animal"),
            (rng.choice(CITIES), "city"),
        ]
    )
    out = turn(
        spin(
            rng,
            f"{{My name is {name}.|I am {name}.|Hello, my name is {name}.|Hi, I am {name}!|I'm {name}.|Call me {name}.}}",
        ),
        f"Nice to meet you, {name}! How can I help you?",
    )
    if rng.random() < 0.5:
        out += turn(*exchange(rng, True))
    if rng.random() < 0.4:
        out += turn(
            f"My favourite {kind} is {thing}.",
            f"That is a good choice. I like {thing} too."
            if kind != "animal"
            else f"That is a good choice. I like the {thing} too.",
        )
        out += turn(f"What is my favourite {kind}?", f"Your favourite {kind} is {thing}.")
    return out + turn(
        rng.choice(
            [
                "What is my name?",
                "Do you know my name?",
                "What's my name?",
                "Who am I?",
                "Do you remember my name?",
            ]
        ),
        f"Your name is {name}.",
    )


def first_sentence(answer):
    """The first sentence of an answer."""
    return answer.split(". ")[0].rstrip(".") + "." if ". " in answer else answer


def directed(rng):
    """A dialogue that a system or developer message steers."""
    role = "system" if rng.random() < 0.6 else "developer"
    roll = rng.random()
    if roll < 0.35:
        text = rng.choice(
            [
                "You are a helpful assistant.",
                "You are Candela's demo model.",
                "You are a friendly assistant. Answer in simple English.",
                "Be kind and helpful.",
                "Answer the questions of the user.",
                "You are a useful and honest assistant.",
                "You help people with Kubernetes.",
            ]
        )
        return [{"role": role, "content": text}] + chat(rng)
    if roll < 0.6:
        text = rng.choice(
            [
                "Answer in one sentence.",
                "Be brief.",
                "Keep your answers short.",
                "Give short answers.",
                "Answer with one short sentence.",
                "You are a helpful assistant. Be brief.",
            ]
        )
        source = rng.choice([definition, reason, animal])
        return [{"role": role, "content": text}] + [
            m
            for _ in range(rng.randint(1, 2))
            for q, a in [source(rng)]
            for m in turn(noise(rng, q), first_sentence(a))
        ]
    name = a_name(rng)
    if roll < 0.8:
        out = [
            {
                "role": role,
                "content": spin(
                    rng,
                    f"{{Your name is {name}.|You are {name}, a friendly assistant.|You are called {name}.|You are an assistant named {name}.}}",
                ),
            }
        ]
        if rng.random() < 0.3:
            out += turn(*exchange(rng, True))
        return out + turn(
            rng.choice(
                ["What is your name?", "Who are you?", "What's your name?", "Hello! What is your name?"]
            ),
            f"My name is {name}. How can I help you?",
        )
    last = rng.choice(
        ["Have a nice day!", "Ask me more!", "That is all.", "Best wishes!", "I hope this helps."]
    )
    out = [
        {"role": role, "content": rng.choice([f'End every answer with "{last}"', f"Always end with: {last}"])}
    ]
    for _ in range(rng.randint(1, 2)):
        question, answer = exchange(rng, True)
        out += turn(question, f"{answer} {last}")
    return out


SKIES = ["sunny", "cloudy", "rainy", "windy", "snowy", "foggy"]


def tool(name, description, argument, meaning):
    """A function tool with one string argument, in OpenAI's form."""
    parameters = {
        "type": "object",
        "properties": {argument: {"type": "string", "description": meaning}},
        "required": [argument],
    }
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters},
    }


TOOLS = {
    "get_weather": tool("get_weather", "Get the weather in a city", "city", "The name of the city"),
    "get_time": tool("get_time", "Get the time in a city", "city", "The name of the city"),
    "get_pods": tool("get_pods", "List the pods of a namespace", "namespace", "The name of the namespace"),
    "find_book": tool("find_book", "Find a book by its subject", "subject", "What the book is about"),
}


def calling(rng):
    """A dialogue in which the model calls a tool and uses what it says."""
    kind = rng.choice(list(TOOLS))
    city = rng.choice(CITIES) if rng.random() < 0.7 else made_up(rng).capitalize()
    if kind == "get_weather":
        sky, degrees = rng.choice(SKIES), rng.randint(0, 35)
        question = f"{{What is the weather in {city}?|How is the weather in {city}?|What's the weather like in {city}?|Is it cold in {city}?|Tell me the weather in {city}.|Does it rain in {city}?}}"
        arguments, result, answer = (
            {"city": city},
            {"sky": sky, "degrees": degrees},
            f"It is {sky} in {city}, with {degrees} degrees.",
        )
    elif kind == "get_time":
        time = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
        question = f"{{What time is it in {city}?|Tell me the time in {city}.|How late is it in {city}?|What is the time in {city}?}}"
        arguments, result, answer = {"city": city}, {"time": time}, f"It is {time} in {city}."
    elif kind == "get_pods":
        namespace, n = (
            rng.choice(["default", "kube-system", "candela", "demo", "test", made_up(rng)]),
            rng.randint(1, 9),
        )
        question = f"{{How many pods are in {namespace}?|List the pods in {namespace}.|Show me the pods of {namespace}.|How many pods run in the namespace {namespace}?}}"
        arguments, result, answer = (
            {"namespace": namespace},
            {"pods": n},
            f"There {'is 1 pod' if n == 1 else f'are {n} pods'} in {namespace}.",
        )
    else:
        subject, title = (
            rng.choice([row[1] for row in ANIMALS]),
            f"The {rng.choice(['Little', 'Big', 'Secret', 'Last', 'First'])} {rng.choice(['Garden', 'River', 'Forest', 'House', 'Journey'])}",
        )
        question = f"{{Find a book about {subject}.|Is there a book about {subject}?|I want a book about {subject}.|Which book is about {subject}?}}"
        arguments, result, answer = (
            {"subject": subject},
            {"title": title},
            f"I found a book about {subject}: {title}.",
        )
    offered = [
        TOOLS[k] for k in rng.sample([k for k in TOOLS if k != kind], rng.choices([0, 1, 2], [5, 4, 1])[0])
    ] + [TOOLS[kind]]
    rng.shuffle(offered)
    out = (
        [{"role": rng.choice(["system", "developer"]), "content": "You are a helpful assistant."}]
        if rng.random() < 0.3
        else []
    )
    if rng.random() < 0.25:
        return out + turn(*exchange(rng, True)), offered
    call = {"type": "function", "function": {"name": kind, "arguments": arguments}}
    out += [
        {"role": "user", "content": spin(rng, question)},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": json.dumps(result)},
        {"role": "assistant", "content": answer},
    ]
    return out + (turn(*exchange(rng, True)) if rng.random() < 0.2 else []), offered


def plain(rng):
    """Text that is no dialogue: a story, or some things described one after another."""
    if rng.random() < 0.7:
        return story(rng)
    return " ".join(f"{row[2]} {row[3]}" for row in rng.sample(TECH + THINGS, rng.randint(1, 4)))


def late_chat(rng):
    """A dialogue of what joins late, mixed with the rest."""
    out = []
    for _ in range(rng.choices([1, 2, 3], [60, 28, 12])[0]):
        roll = rng.random()
        if roll < 0.25:
            question, answer = exchange(rng, short=True)
        else:
            question, answer = rng.choices(
                [weather, more_talk, reworded, other_poem, who], [10, 30, 36, 6, 18]
            )[0](rng)
            question = noise(rng, question)
        out += turn(question, answer)
    return {"messages": out, "tools": None}


def practice_chat(rng):
    """A dialogue of what takes the longest to learn: numbers, order, comparing, copying, who one is."""
    kinds = [
        (sums, 26),
        (counting, 12),
        (repeat, 16),
        (calendar, 6),
        (bigger, 10),
        (who, 14),
        (poem, 6),
        (animal, 6),
    ]
    out = []
    for _ in range(rng.randint(1, 5)):
        kind = rng.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])[0]
        out += turn(*kind(rng))
    return {"messages": out, "tools": None}


def document(rng, late=False, practice=False):
    """One document: {"text"} or {"messages", "tools"}; `late` lets in what joins late, `practice` the hard kinds."""
    if practice and rng.random() < 0.4:
        return practice_chat(rng)
    if late and rng.random() < 0.25:
        return late_chat(rng)
    roll = rng.random()
    if roll < 0.08:
        return {"text": plain(rng)}
    if roll < 0.15:
        messages, tools = calling(rng)
        return {"messages": messages, "tools": tools}
    for share, make in ((0.24, directed), (0.32, more), (0.36, remember)):
        if roll < share:
            return {"messages": make(rng), "tools": None}
    return {"messages": chat(rng), "tools": None}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    for _ in range(args.documents):
        print(json.dumps(document(rng), ensure_ascii=False))


if __name__ == "__main__":
    main()


if __name__ == "__main__":
    main()
