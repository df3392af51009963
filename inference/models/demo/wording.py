"""How people put their questions: names, articles, greetings before a question, small mistakes."""

import facts
from stories import article

SYLLABLES = "ba be bo da do dra fa fi fle ga go gri ka ko ki la li lo ma mi mo na ne no pa pi plo ra ri ro sa si sto ta ti to tri va vo wa wi za zo zu".split()
PREAMBLES = [
    "I have a short question: ",
    "I am new here. ",
    "My friend asked me this: ",
    "My son wants to know: ",
    "I need this for school. ",
    "I am new to all this. ",
    "Maybe you can help me. ",
    "I was thinking about something. ",
    "Sorry to ask. ",
    "One more thing: ",
    "Just a quick one. ",
    "I am curious. ",
    "We talked about this at work. ",
    "Good morning! ",
    "Now something else. ",
    "Please answer this: ",
    "Next question. ",
    "I always wanted to know this. ",
    "Let us talk about something else. ",
    "Thank you. And now: ",
]


def made_up(rng):
    """A word that means nothing, so that copying a word is learnt as copying."""
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(2, 3))) + rng.choice(
        ["", "", "n", "r", "s", "x"]
    )


def a_name(rng):
    """Someone's name; often one that is in no list."""
    return rng.choice(facts.NAMES.split()) if rng.random() < 0.5 else made_up(rng).capitalize()


def noise(rng, question):
    """People write the same thing in many ways."""
    roll = rng.random()
    if roll < 0.06 and question.endswith("?"):
        question = rng.choice(
            ["Please tell me: ", "Tell me, ", "Quick question: ", "I want to know: ", "So, ", "Hi, ", "Hey, "]
        ) + lower_first(question)
    elif roll < 0.12:
        question = (
            rng.choice(["Hello! ", "Hi! ", "Hey! ", "Hello. ", "Okay. ", "I have a question. "]) + question
        )
    elif roll < 0.16:
        question = question + rng.choice([" Thank you.", " Please.", " Thanks!"])
    elif roll < 0.24:
        question = rng.choice(PREAMBLES) + question
    if rng.random() < 0.12:
        question = question.lower()
    if rng.random() < 0.05:
        question = typo(rng, question)
    if rng.random() < 0.12:
        question = question.rstrip("?.!")
    return question


def typo(rng, text):
    """Swaps, drops or doubles one letter."""
    i = rng.randrange(1, max(2, len(text) - 2))
    return text[:i] + rng.choice(
        [text[i + 1 : i + 2] + text[i : i + 1] + text[i + 2 :], text[i + 1 :], text[i : i + 1] + text[i:]]
    )


def lower_first(text):
    """Lowers the first letter, but not of `I`."""
    return text if text.startswith("I ") else text[0].lower() + text[1:]


def named(row):
    """(`a fox`, `foxes`) or (`gravity`, `gravity`): how a thing is named alone and in general."""
    name, plural = row[0], row[1]
    if plural == "-":
        the = "the " if name in ("sun", "moon", "earth", "sea", "internet", "KV cache") else ""
        return the + name, the + name
    if name == "sea":
        return "the sea", "the sea"
    return article_of(name), plural


def article_of(name):
    """The article by sound: `an API`, `an InferenceService`, `a GPU`, `a YAML file`."""
    return ("an " if name.startswith(("API", "Inf")) else "a ") + name if name[0].isupper() else article(name)
