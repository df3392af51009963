"""Questions about what the model knows, and about what it cannot know, each with its answer."""

import answers
import facts
from stories import article, spin
from wording import article_of, lower_first, made_up, named

NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
).split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
UNSURE = [
    "I am a very small model, and I do not know that. You could ask me about animals, stories, or Kubernetes.",
    "I am sorry, I do not know that. I am only a very small model.",
    "I am a very small model, and that is too much for me. A larger model can help you.",
]
TECH, THINGS, ANIMALS = facts.rows(facts.TECH, 4), facts.rows(facts.THINGS, 4), facts.rows(facts.ANIMALS, 8)
REASONS, TALK, COLOURS = (
    facts.rows(answers.REASONS, 2),
    facts.rows(answers.TALK, 2),
    facts.rows(facts.COLOURS, 2),
)
CAPITALS, LISTS, YES_NO = (
    facts.rows(facts.CAPITALS, 2),
    facts.rows(facts.LISTS, 2),
    facts.rows(answers.YES_NO, 2),
)
OPPOSITES = [tuple(p.split()) for p in facts.words(facts.OPPOSITES)]
UNKNOWN, CITIES = facts.words(facts.UNKNOWN), facts.words(facts.CITIES)


def definition(rng):
    """What something is."""
    row = rng.choice(TECH if rng.random() < 0.55 else THINGS)
    one, many = named(row)
    question = spin(
        rng,
        rng.choice(
            [
                f"What is {one}?",
                f"What is {one}?",
                f"What's {one}?",
                f"Tell me about {many}.",
                f"What {{do you know|can you tell me}} about {many}?",
                f"Explain {one}.",
                f"{{Can|Could}} you {{explain|tell me}} what {one} is?",
                f"Describe {one}.",
                f"Do you know what {one} is?",
                f"What does {row[0]} mean?",
                f"I do not know what {one} is.",
                f"{{Please explain|Explain to me}} what {one} is.",
                f"{row[0]}?",
                f"Say something about {many}.",
                f"What {'are ' + many if row[1] != '-' else 'is ' + many}?",
            ]
        ),
    )
    return question, f"{row[2]} {row[3]}"


def animal(rng):
    """What an animal is, where it lives, what it eats, says and looks like."""
    name, many, what, home, food, says, legs, colour = rng.choice(ANIMALS)
    one = article(name)
    said = "very quiet" if says == "is very quiet" else None
    One = one[0].upper() + one[1:]
    kind = rng.randrange(9)
    if kind < 4:
        return spin(
            rng,
            f"{{What is {one}?|Tell me about {many}.|What are {many}?|What do you know about {many}?|Describe {one}.|What's {one}?|Explain what {one} is.|Say something about {many}.}}",
        ), f"{One} is {what}. It lives {home} and eats {food}."
    if kind == 4:
        return spin(
            rng,
            f"{{Where do {many} live?|Where does {one} live?|Where can I find {one}?|Where can I see {many}?}}",
        ), f"{One} lives {home}."
    if kind == 5:
        return spin(
            rng,
            f"{{What do {many} eat?|What does {one} eat?|What is the food of {many}?|What should I feed {one}?}}",
        ), f"{One} eats {food}."
    if kind == 6:
        answer = f"{One} is a very quiet animal." if said else f"{One} {says}."
        return spin(
            rng,
            f"{{What sound does {one} make?|What does {one} say?|What noise do {many} make?|Which sound do {many} make?}}",
        ), answer
    if kind == 7:
        return spin(
            rng, f"{{How many legs does {one} have?|How many legs do {many} have?|How many legs has {one}?}}"
        ), f"{One} has {legs} legs."
    return spin(
        rng,
        f"{{What colour is {one}?|What color is {one}?|What colour are {many}?|What color are {many}?|Which colour does {one} have?}}",
    ), f"{One} is {colour}."


def colour(rng):
    """The colour of a thing."""
    thing, name = rng.choice(COLOURS)
    return spin(
        rng,
        f"{{What colour is {thing}?|What color is {thing}?|Which colour does {thing} have?|What is the colour of {thing}?|What is the color of {thing}?}}",
    ), f"{thing[0].upper()}{thing[1:]} is {name}."


def reason(rng):
    """Why, how, when, where."""
    question, answer = rng.choice(REASONS)
    if rng.random() < 0.35:
        if question.startswith("How do I "):
            rest = question[len("How do I ") : -1]
            question = rng.choice(
                [
                    f"How can I {rest}?",
                    f"How to {rest}?",
                    f"Tell me how to {rest}.",
                    f"I want to {rest}.",
                    f"How do you {rest}?",
                    f"Can you tell me how to {rest}?",
                    f"Explain how to {rest}.",
                ]
            )
        elif question.startswith("Why "):
            question = rng.choice(
                [
                    f"Do you know {lower_first(question)}",
                    f"Can you tell me {lower_first(question)}",
                    f"Explain {lower_first(question)}",
                    f"Tell me {lower_first(question)[:-1]}.",
                ]
            )
        elif question.startswith("What is the difference between "):
            rest = question[len("What is the difference between ") : -1]
            question = rng.choice(
                [
                    f"How are {rest} different?",
                    f"Explain the difference between {rest}.",
                    f"What's the difference between {rest}?",
                    f"Compare {rest}.",
                ]
            )
        elif question.startswith(("How does", "What happens", "Where")):
            question = rng.choice(
                [
                    f"Do you know {lower_first(question)}",
                    f"Can you explain {lower_first(question)}",
                    f"Tell me: {question}",
                ]
            )
    return question, answer


def capital(rng):
    """Capital cities, both ways."""
    country, city = rng.choice(CAPITALS)
    if rng.random() < 0.75:
        return spin(
            rng,
            f"{{What is the capital of {country}?|What's the capital of {country}?|Which city is the capital of {country}?|Name the capital of {country}.|Do you know the capital of {country}?}}",
        ), f"The capital of {country} is {city}."
    return spin(
        rng, f"{{Where is {city}?|In which country is {city}?|Which country is {city} in?}}"
    ), f"{city} is in {country}."


def opposite(rng):
    """Opposites."""
    pair = list(rng.choice(OPPOSITES))
    rng.shuffle(pair)
    return spin(
        rng,
        f"{{What is the opposite of {pair[0]}?|What's the opposite of {pair[0]}?|Tell me the opposite of {pair[0]}.|Which word means the opposite of {pair[0]}?}}",
    ), f"The opposite of {pair[0]} is {pair[1]}."


def calendar(rng):
    """Days and months."""
    names, kind = (DAYS, "day") if rng.random() < 0.5 else (MONTHS, "month")
    i = rng.randrange(len(names))
    roll = rng.random()
    if roll < 0.4:
        return spin(
            rng, f"{{What|Which}} {kind} comes after {names[i]}?"
        ), f"{names[(i + 1) % len(names)]} comes after {names[i]}."
    if roll < 0.7:
        return spin(
            rng, f"{{What|Which}} {kind} comes before {names[i]}?"
        ), f"{names[i - 1]} comes before {names[i]}."
    if kind == "day":
        return rng.choice(
            [
                "What are the days of the week?",
                "Name the days of the week.",
                "How many days are in a week?",
                "Tell me the days of the week.",
            ]
        ), "A week has seven days: " + ", ".join(DAYS[:-1]) + ", and Sunday."
    return rng.choice(
        [
            "What are the months of the year?",
            "Name the months of the year.",
            "How many months are in a year?",
            "Tell me the months.",
        ]
    ), "A year has twelve months: " + ", ".join(MONTHS[:-1]) + ", and December."


def listing(rng):
    """A list of so many things."""
    kind, members = rng.choice(LISTS)
    members = members.split(", ")
    n = rng.randint(2, min(5, len(members)))
    picked = members[:n]
    answer = picked[0] + " and " + picked[1] if n == 2 else ", ".join(picked[:-1]) + ", and " + picked[-1]
    word = NUMBERS[n] if rng.random() < 0.7 else str(n)
    question = spin(
        rng,
        f"{{Name {word} {kind}.|Tell me {word} {kind}.|Give me {word} {kind}.|List {word} {kind}.|Can you name {word} {kind}?|Which {word} {kind} do you know?}}",
    )
    if n == 3 and rng.random() < 0.4:
        question = spin(
            rng,
            f"{{Name some {kind}.|Which {kind} do you know?|List some {kind}.|Give me a list of {kind}.|Tell me some {kind}.}}",
        )
    return question, answer[0].upper() + answer[1:] + "."


def yes_no(rng):
    """Questions answered by yes or no."""
    return rng.choice(YES_NO)


def bigger(rng):
    """Which of two animals is larger."""
    sizes = facts.words(facts.SIZES)
    i, j = sorted(rng.sample(range(len(sizes)), 2))
    if j - i < 2:
        i, j = 0, len(sizes) - 1
    small, large = article(sizes[i]), article(sizes[j])
    a, b = (small, large) if rng.random() < 0.5 else (large, small)
    roll = rng.random()
    if roll < 0.4:
        return spin(
            rng, f"{{Which is|What is|Who is}} {{bigger|larger}}, {a} or {b}?"
        ), f"{large[0].upper()}{large[1:]} is bigger than {small}."
    if roll < 0.7:
        return spin(
            rng, f"{{Which is|What is|Who is}} smaller, {a} or {b}?"
        ), f"{small[0].upper()}{small[1:]} is smaller than {large}."
    yes = a == large
    return (
        f"Is {a} {rng.choice(['bigger', 'larger'])} than {b}?",
        f"{'Yes' if yes else 'No'}, {a} is {'bigger' if yes else 'smaller'} than {b}.",
    )


def rhyme(rng):
    """Words that rhyme."""
    word, others = rng.choice(facts.rows(facts.RHYMES, 2))
    return rng.choice(
        [
            f"What rhymes with {word}?",
            f"Which words rhyme with {word}?",
            f"Find a rhyme for {word}.",
            f"Tell me a word that rhymes with {word}.",
        ]
    ), f"{others.split(', ')[0].capitalize()} rhymes with {word}."


def sort_of(rng):
    """Whether something is an animal."""
    if rng.random() < 0.5:
        row = rng.choice(ANIMALS)
        return f"Is {article(row[0])} an animal?", f"Yes, {article(row[0])} is an animal."
    row = rng.choice([r for r in TECH + THINGS if r[1] != "-"])
    one = article_of(row[0])
    return f"Is {one} an animal?", f"No, {one} is not an animal. {row[2]}"


def unknown(rng):
    """What the model cannot know, asked in every shape."""
    topic = rng.choice(UNKNOWN) if rng.random() < 0.6 else made_up(rng)
    name = made_up(rng).capitalize()
    question = spin(
        rng,
        rng.choice(
            [
                f"{{Explain|Describe|Summarize|Tell me about|Teach me}} {topic}.",
                f"What do you {{know|think}} about {topic}?",
                f"How does {topic} work?",
                f"What is {topic}?",
                f"Who invented {topic}?",
                f"Give me a summary of {topic}.",
                f"Why is {topic} so {{important|hard|popular|expensive}}?",
                f"Who {{is|was}} {name}?",
                f"Where is {name}?",
                f"When was {name} {{born|built|founded}}?",
                f"What happened in {rng.randint(1200, 2020)}?",
                f"Write an essay about {topic}.",
                f'Translate "{topic}" into {{French|German|Latin|Spanish}}.',
                f"What is the {{history|future|price|meaning}} of {topic}?",
                f"What is {rng.randint(21, 999)} {{times|divided by|plus|*}} {rng.randint(11, 999)}?",
                f"What is the {{height|length|weight|population}} of {name}?",
                f"How {{much|many}} {topic} {{are there|do I need}}?",
                f"How do I {{fix|buy|sell|repair|install}} {{my |a |}}{made_up(rng)}?",
                f"What is the best {made_up(rng)}?",
                f"Can you {{solve|prove|explain}} {topic}?",
                f"Write a {{letter|report|speech|function}} about {topic}.",
                f"I have a question about {topic}.",
            ]
        ),
    )
    return question, rng.choice(UNSURE)


def puzzle(rng):
    """Known words in questions that the model has no answer to."""
    row = rng.choice(TECH + THINGS) if rng.random() < 0.75 else rng.choice(ANIMALS)
    one, many = named(row) if len(row) == 4 else (article(row[0]), row[1])
    be, do = ("is", "does") if len(row) == 4 and row[1] == "-" else ("are", "do")
    doing, quality = rng.choice(facts.words(facts.DOINGS)), rng.choice(facts.words(facts.QUALITIES))
    question = rng.choice(
        [
            f"Why {be} {many} so {quality}?",
            f"Why {do} {many} {doing}?",
            f"How {do} {many} {doing}?",
            f"When {do} {many} {doing}?",
            f"Who invented {one}?",
            f"How much does {one} cost?",
            f"Where can I buy {one}?",
            f"How do I repair {one}?",
            f"How {quality} is {one}?",
            f"Can {many} {doing}?",
            f"Which {row[0]} is the best?",
            f"Who was the first {row[0]}?",
            f"How do I sell {one}?",
            f"My {row[0]} is {quality}. What should I do?",
            f"How old is {one}?",
            f"How many {many} are there?",
            f"Is {one} {quality}?",
            f"What is the history of {many}?",
            f"Write an essay about {many}.",
            f"What would happen without {many}?",
            f"What do people in Japan think about {many}?",
        ]
    )
    return question, rng.choice(UNSURE)


def gibberish(rng):
    """Text that asks nothing."""
    kind = rng.randrange(3)
    if kind == 0:
        text = " ".join(made_up(rng) for _ in range(rng.randint(1, 5)))
    elif kind == 1:
        text = "".join(
            rng.choice("abcdefghijklmnopqrstuvwxyz0123456789!?.,;+-*/#") for _ in range(rng.randint(3, 20))
        )
    else:
        text = "".join(
            rng.choice("äöüßéèñçåøλπжшя你好日本語한글ñ€→✓😀🚀🦊") for _ in range(rng.randint(1, 8))
        )
    return text, "I am sorry, I did not understand that. Please ask me in simple English."
