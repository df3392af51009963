"""Small talk and things to do: greetings, jokes, counting, sums, stories, poems, copying."""

import answers
import facts
from questions import ANIMALS, CITIES, COLOURS, NUMBERS, OPPOSITES, REASONS, TALK, TECH, THINGS
from stories import POEMS, animals, article, heroes, spin, story
from wording import a_name, article_of, made_up, named


def talk(rng):
    """Greetings, thanks, questions about the model itself."""
    questions, replies = rng.choice(TALK)
    return rng.choice(questions.split(";")).strip(), rng.choice(replies.split(";")).strip()


def who(rng):
    """The most asked: who the model is, and hello."""
    picked = [
        row
        for row in TALK
        if any(
            k in row[0]
            for k in (
                "Hello!",
                "Who are you?",
                "What is your name?",
                "What can you do?",
                "How are you?",
                "Thank you!",
                "Goodbye!",
            )
        )
    ]
    questions, replies = rng.choice(picked)
    first = rng.choice(questions.split(";")).strip()
    if rng.random() < 0.25 and not questions.startswith(("Hello", "Goodbye", "Thank")):
        first = rng.choice(["Hello! ", "Hi! ", "Hello, ", "Good morning! ", "Hey! "]) + first
    return first, rng.choice(replies.split(";")).strip()


def joke(rng):
    """A joke on request."""
    return rng.choice(
        [
            "Tell me a joke.",
            "Do you know a joke?",
            "Make me laugh.",
            "Say something funny.",
            "Another joke, please.",
            "Can you tell me a joke?",
            "I want to hear a joke.",
        ]
    ), rng.choice(answers.JOKES.strip().splitlines())


def spelled(rng, n):
    """A number as a word or in digits."""
    return NUMBERS[n] if rng.random() < 0.5 else str(n)


def counting(rng):
    """Counting up and down."""
    n = rng.randint(2, 12) if rng.random() < 0.8 else rng.randint(13, 20)
    up = rng.random() < 0.75
    low = 1 if rng.random() < 0.8 or not up else rng.randint(2, n - 1) if n > 3 else 1
    run = [NUMBERS[i] for i in range(low, n + 1)]
    if up:
        question = (
            f"{{Count to|Please count to|Can you count to|Count up to|Now count to}} {spelled(rng, n)}"
            if low == 1 and rng.random() < 0.8
            else f"Count from {spelled(rng, low)} to {spelled(rng, n)}"
        )
    else:
        run.reverse()
        question = f"{{Count down from|Count backwards from}} {spelled(rng, n)}"
    answer = ", ".join(run) + "."
    question = spin(rng, question)
    return question + ("?" if question.startswith("Can") else "."), answer[0].upper() + answer[1:]


def sums(rng):
    """Small sums; the answer repeats the question."""
    a, b = rng.randint(0, 10), rng.randint(0, 10)
    minus = rng.random() < 0.35
    if minus:
        a, b = max(a, b), min(a, b)
    result = a - b if minus else a + b
    sign, word = ("-", "minus") if minus else ("+", "plus")
    if rng.random() < 0.6:
        question = spin(
            rng, f"{{What is|How much is|Calculate|What's}} {a} {sign if rng.random() < 0.6 else word} {b}?"
        )
        return question.replace("?", ".") if question.startswith(
            "Calc"
        ) else question, f"{a} {word} {b} is {result}."
    return spin(
        rng, f"{{What is|How much is|What's}} {NUMBERS[a]} {word} {NUMBERS[b]}?"
    ), f"{NUMBERS[a].capitalize()} {word} {NUMBERS[b]} is {NUMBERS[result]}."


def telling(rng):
    """A story on request, about whom the request names."""
    hero = rng.choice(heroes())
    one = article_of(hero)
    roll = rng.random()
    if roll < 0.15:
        return rng.choice(
            [
                "Tell me a story.",
                "Tell me a story, please.",
                "Can you tell me a story?",
                "I want to hear a story.",
                "Write a story.",
                "Another story, please.",
                "Write a short story.",
            ]
        ), story(rng)
    if roll < 0.3:
        return spin(rng, f"{{Tell me|Write|Write me}} a very short story about {one}."), story(
            rng, hero, short=True
        )
    if roll < 0.4:
        name = a_name(rng)
        return spin(rng, f"{{Tell me|Write}} a story about {one} named {name}."), story(rng, hero, name=name)
    return spin(
        rng,
        f"{{Tell me|Write|Write me|Please tell me|Tell us}} a {{story|story|short story|little story|nice story|bedtime story|fairy tale}} about {one}.",
    ) if rng.random() < 0.8 else spin(
        rng,
        f"{{Can you tell me a story about {one}?|I want a story about {one}.|Do you know a story about {one}?|A story about {one}, please.}}",
    ), story(rng, hero)


def poem(rng):
    """A short poem on request."""
    subject, text = rng.choice(POEMS)
    the = "the " if subject in ("sea", "moon", "rain", "snow") else "" if subject == "spring" else "a "
    if rng.random() < 0.25:
        return rng.choice(
            ["Write a poem.", "Tell me a poem.", "Can you write a poem?", "A short poem, please."]
        ), text
    return spin(
        rng, f"{{Write|Tell me|Write me|Please write}} a {{short |little |}}poem about {the}{subject}."
    ), text


def repeat(rng):
    """Saying again what was said: plain copying."""
    n = rng.randint(1, 4)
    pool = [
        rng.choice(animals()),
        rng.choice(COLOURS)[0],
        made_up(rng),
        rng.choice(THINGS)[0],
        rng.choice(OPPOSITES)[0],
        made_up(rng),
    ]
    phrase = " ".join(rng.sample(pool, n))
    roll = rng.random()
    if roll < 0.3:
        name = a_name(rng)
        return spin(
            rng, f"{{Say hello to {name}.|Greet {name}.|Please say hello to {name}.}}"
        ), f"Hello, {name}! It is nice to meet you."
    if roll < 0.65:
        return spin(rng, f"{{Say|Please say|Repeat|Write}}: {phrase}"), phrase
    return spin(rng, f'{{Say|Please say|Repeat|Repeat after me:|Write}} "{phrase}".'), phrase


def sentence(rng):
    """A sentence about something, or with a word in it."""
    row = rng.choice([r for r in THINGS if r[1] != "-"] + ANIMALS)
    one = article(row[0])
    answer = spin(
        rng,
        f"{{Yesterday|This morning|One day|Today}} I saw {one} {{near the river|in the garden|by the road|at the market|behind the house|in a picture}}.",
    )
    return rng.choice(
        [
            f"Write a sentence about {one}.",
            f"Use the word {row[0]} in a sentence.",
            f"Make a sentence with the word {row[0]}.",
            f"Write one sentence with {row[0]}.",
            f"Say a sentence about {one}.",
        ]
    ), answer


def weather(rng):
    """The weather and the time when there is no tool to ask."""
    city = rng.choice(CITIES) if rng.random() < 0.7 else made_up(rng).capitalize()
    if rng.random() < 0.7:
        return spin(
            rng,
            f"{{What is the weather in {city}?|How is the weather in {city}?|What's the weather like in {city}?|Is it cold in {city}?|Tell me the weather in {city}.|Does it rain in {city}?}}",
        ), "I cannot look outside, so I do not know the weather."
    return spin(
        rng,
        f"{{What time is it in {city}?|Tell me the time in {city}.|How late is it in {city}?|What is the time in {city}?}}",
    ), "I do not have a clock, so I cannot tell you the time."


def more_talk(rng):
    """Small talk that joins late."""
    questions, replies = rng.choice(facts.rows(answers.MORE_TALK, 2))
    return rng.choice(questions.split(";")).strip(), replies


def reworded(rng):
    """Definitions, animals and advice, asked in less usual words."""
    if rng.random() < 0.25:
        question, answer = rng.choice([row for row in REASONS if row[0].startswith("How do I ")])
        rest = question[len("How do I ") : -1]
        return rng.choice(
            [
                f"Can you give me some advice on how to {rest}?",
                f"What is the best way to {rest}?",
                f"Any tips on how to {rest}?",
                f"I would like to {rest}. How does it work?",
                f"I do not know how to {rest}.",
                f"Help me to {rest}.",
                f"Show me how to {rest}.",
            ]
        ), answer
    row = rng.choice(TECH + THINGS + ANIMALS)
    if len(row) == 4:
        (one, many), answer = named(row), f"{row[2]} {row[3]}"
    else:
        one, many = article(row[0]), row[1]
        answer = f"{one[0].upper()}{one[1:]} is {row[2]}. It lives {row[3]} and eats {row[4]}."
    return rng.choice(
        [
            f"What is {one} and why does it matter?",
            f"What is {one} used for?" if len(row) == 4 else f"What kind of animal is {one}?",
            f"Give me a definition of {one}.",
            f"Tell me something about {many}.",
            f"I want to learn about {many}.",
            f"Teach me about {many}.",
            f"How would you describe {one}?",
            f"What exactly is {one}?",
            f"In simple words, what is {one}?",
            f"What can you say about {many}?",
            f"Explain {one} to a child.",
            f"Do you know anything about {many}?",
            f"I have heard of {many}. What is that?",
            f"Someone told me about {many}. Can you explain?",
            f"What is meant by {row[0]}?",
            f"Write something about {many}.",
            f"Let us talk about {many}.",
        ]
    ), answer


def other_poem(rng):
    """A poem about something that the model has no poem for."""
    row = rng.choice(TECH + THINGS)
    if row[0] in [subject for subject, _ in POEMS]:
        return poem(rng)
    return rng.choice(
        [
            f"Write a poem about {named(row)[1]}.",
            f"Write a haiku about {named(row)[1]}.",
            f"Write a song about {named(row)[0]}.",
            f"A poem about {named(row)[0]}, please.",
        ]
    ), "I have no poem about that, but here is another one:\n" + rng.choice(POEMS)[1]
