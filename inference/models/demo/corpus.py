"""Writes the text that the demo model learns from: dialogues, stories and descriptions, all made here.

`python corpus.py --documents 20` prints some of it. A document is a list of messages (a dialogue, with
the tools it may call) or a plain text.
"""

import argparse
import json
import random

import facts
from stories import POEMS, article, animals, heroes, spin, story

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
PREAMBLES = [
    "I have a short question: ", "I am new here. ", "My friend asked me this: ", "My son wants to know: ", "I need this for school. ",
    "I am new to all this. ", "Maybe you can help me. ", "I was thinking about something. ", "Sorry to ask. ", "One more thing: ",
    "Just a quick one. ", "I am curious. ", "We talked about this at work. ", "Good morning! ", "Now something else. ", "Please answer this: ",
    "Next question. ", "I always wanted to know this. ", "Let us talk about something else. ", "Thank you. And now: ",
]
TECH, THINGS, ANIMALS = facts.rows(facts.TECH, 4), facts.rows(facts.THINGS, 4), facts.rows(facts.ANIMALS, 8)
REASONS, TALK, COLOURS = facts.rows(facts.REASONS, 2), facts.rows(facts.TALK, 2), facts.rows(facts.COLOURS, 2)
CAPITALS, LISTS, YES_NO = facts.rows(facts.CAPITALS, 2), facts.rows(facts.LISTS, 2), facts.rows(facts.YES_NO, 2)
OPPOSITES = [tuple(p.split()) for p in facts.words(facts.OPPOSITES)]
UNKNOWN, CITIES = facts.words(facts.UNKNOWN), facts.words(facts.CITIES)
SYLLABLES = "ba be bo da do dra fa fi fle ga go gri ka ko ki la li lo ma mi mo na ne no pa pi plo ra ri ro sa si sto ta ti to tri va vo wa wi za zo zu".split()


def made_up(rng):
    """A word that means nothing, so that copying a word is learnt as copying."""
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(2, 3))) + rng.choice(["", "", "n", "r", "s", "x"])


def a_name(rng):
    """Someone's name; often one that is in no list."""
    return rng.choice(facts.NAMES.split()) if rng.random() < 0.5 else made_up(rng).capitalize()


def noise(rng, question):
    """People write the same thing in many ways."""
    roll = rng.random()
    if roll < 0.06 and question.endswith("?"):
        question = rng.choice(["Please tell me: ", "Tell me, ", "Quick question: ", "I want to know: ", "So, ", "Hi, ", "Hey, "]) + lower_first(question)
    elif roll < 0.12:
        question = rng.choice(["Hello! ", "Hi! ", "Hey! ", "Hello. ", "Okay. ", "I have a question. "]) + question
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
    return text[:i] + rng.choice([text[i + 1 : i + 2] + text[i : i + 1] + text[i + 2 :], text[i + 1 :], text[i : i + 1] + text[i:]])


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


def definition(rng):
    """What something is."""
    row = rng.choice(TECH if rng.random() < 0.55 else THINGS)
    one, many = named(row)
    question = spin(rng, rng.choice([
        f"What is {one}?", f"What is {one}?", f"What's {one}?", f"Tell me about {many}.", f"What {{do you know|can you tell me}} about {many}?",
        f"Explain {one}.", f"{{Can|Could}} you {{explain|tell me}} what {one} is?", f"Describe {one}.", f"Do you know what {one} is?",
        f"What does {row[0]} mean?", f"I do not know what {one} is.", f"{{Please explain|Explain to me}} what {one} is.", f"{row[0]}?",
        f"Say something about {many}.", f"What {'are ' + many if row[1] != '-' else 'is ' + many}?",
    ]))
    return question, f"{row[2]} {row[3]}"


def animal(rng):
    """What an animal is, where it lives, what it eats, says and looks like."""
    name, many, what, home, food, says, legs, colour = rng.choice(ANIMALS)
    one = article(name)
    said = "very quiet" if says == "is very quiet" else None
    One, Many = one[0].upper() + one[1:], many[0].upper() + many[1:]
    kind = rng.randrange(9)
    if kind < 4:
        return spin(rng, f"{{What is {one}?|Tell me about {many}.|What are {many}?|What do you know about {many}?|Describe {one}.|What's {one}?|Explain what {one} is.|Say something about {many}.}}"), f"{One} is {what}. It lives {home} and eats {food}."
    if kind == 4:
        return spin(rng, f"{{Where do {many} live?|Where does {one} live?|Where can I find {one}?|Where can I see {many}?}}"), f"{One} lives {home}."
    if kind == 5:
        return spin(rng, f"{{What do {many} eat?|What does {one} eat?|What is the food of {many}?|What should I feed {one}?}}"), f"{One} eats {food}."
    if kind == 6:
        answer = f"{One} is a very quiet animal." if said else f"{One} {says}."
        return spin(rng, f"{{What sound does {one} make?|What does {one} say?|What noise do {many} make?|Which sound do {many} make?}}"), answer
    if kind == 7:
        return spin(rng, f"{{How many legs does {one} have?|How many legs do {many} have?|How many legs has {one}?}}"), f"{One} has {legs} legs."
    return spin(rng, f"{{What colour is {one}?|What color is {one}?|What colour are {many}?|What color are {many}?|Which colour does {one} have?}}"), f"{One} is {colour}."


def colour(rng):
    """The colour of a thing."""
    thing, name = rng.choice(COLOURS)
    return spin(rng, f"{{What colour is {thing}?|What color is {thing}?|Which colour does {thing} have?|What is the colour of {thing}?|What is the color of {thing}?}}"), f"{thing[0].upper()}{thing[1:]} is {name}."


def reason(rng):
    """Why, how, when, where."""
    question, answer = rng.choice(REASONS)
    if rng.random() < 0.35:
        if question.startswith("How do I "):
            rest = question[len("How do I ") : -1]
            question = rng.choice([f"How can I {rest}?", f"How to {rest}?", f"Tell me how to {rest}.", f"I want to {rest}.", f"How do you {rest}?", f"Can you tell me how to {rest}?", f"Explain how to {rest}."])
        elif question.startswith("Why "):
            question = rng.choice([f"Do you know {lower_first(question)}", f"Can you tell me {lower_first(question)}", f"Explain {lower_first(question)}", f"Tell me {lower_first(question)[:-1]}."])
        elif question.startswith("What is the difference between "):
            rest = question[len("What is the difference between ") : -1]
            question = rng.choice([f"How are {rest} different?", f"Explain the difference between {rest}.", f"What's the difference between {rest}?", f"Compare {rest}."])
        elif question.startswith(("How does", "What happens", "Where")):
            question = rng.choice([f"Do you know {lower_first(question)}", f"Can you explain {lower_first(question)}", f"Tell me: {question}"])
    return question, answer


def talk(rng):
    """Greetings, thanks, questions about the model itself."""
    questions, answers = rng.choice(TALK)
    return rng.choice(questions.split(";")).strip(), rng.choice(answers.split(";")).strip()


def who(rng):
    """The most asked: who the model is, and hello."""
    picked = [row for row in TALK if any(k in row[0] for k in ("Hello!", "Who are you?", "What is your name?", "What can you do?", "How are you?", "Thank you!", "Goodbye!"))]
    questions, answers = rng.choice(picked)
    first = rng.choice(questions.split(";")).strip()
    if rng.random() < 0.25 and not questions.startswith(("Hello", "Goodbye", "Thank")):
        first = rng.choice(["Hello! ", "Hi! ", "Hello, ", "Good morning! ", "Hey! "]) + first
    return first, rng.choice(answers.split(";")).strip()


def joke(rng):
    """A joke on request."""
    return rng.choice(["Tell me a joke.", "Do you know a joke?", "Make me laugh.", "Say something funny.", "Another joke, please.", "Can you tell me a joke?", "I want to hear a joke."]), rng.choice(facts.JOKES.strip().splitlines())


def capital(rng):
    """Capital cities, both ways."""
    country, city = rng.choice(CAPITALS)
    if rng.random() < 0.75:
        return spin(rng, f"{{What is the capital of {country}?|What's the capital of {country}?|Which city is the capital of {country}?|Name the capital of {country}.|Do you know the capital of {country}?}}"), f"The capital of {country} is {city}."
    return spin(rng, f"{{Where is {city}?|In which country is {city}?|Which country is {city} in?}}"), f"{city} is in {country}."


def opposite(rng):
    """Opposites."""
    pair = list(rng.choice(OPPOSITES))
    rng.shuffle(pair)
    return spin(rng, f"{{What is the opposite of {pair[0]}?|What's the opposite of {pair[0]}?|Tell me the opposite of {pair[0]}.|Which word means the opposite of {pair[0]}?}}"), f"The opposite of {pair[0]} is {pair[1]}."


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
        question = f"{{Count to|Please count to|Can you count to|Count up to|Now count to}} {spelled(rng, n)}" if low == 1 and rng.random() < 0.8 else f"Count from {spelled(rng, low)} to {spelled(rng, n)}"
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
        question = spin(rng, f"{{What is|How much is|Calculate|What's}} {a} {sign if rng.random() < 0.6 else word} {b}?")
        return question.replace("?", ".") if question.startswith("Calc") else question, f"{a} {word} {b} is {result}."
    return spin(rng, f"{{What is|How much is|What's}} {NUMBERS[a]} {word} {NUMBERS[b]}?"), f"{NUMBERS[a].capitalize()} {word} {NUMBERS[b]} is {NUMBERS[result]}."


def calendar(rng):
    """Days and months."""
    names, kind = (DAYS, "day") if rng.random() < 0.5 else (MONTHS, "month")
    i = rng.randrange(len(names))
    roll = rng.random()
    if roll < 0.4:
        return spin(rng, f"{{What|Which}} {kind} comes after {names[i]}?"), f"{names[(i + 1) % len(names)]} comes after {names[i]}."
    if roll < 0.7:
        return spin(rng, f"{{What|Which}} {kind} comes before {names[i]}?"), f"{names[i - 1]} comes before {names[i]}."
    if kind == "day":
        return rng.choice(["What are the days of the week?", "Name the days of the week.", "How many days are in a week?", "Tell me the days of the week."]), "A week has seven days: " + ", ".join(DAYS[:-1]) + ", and Sunday."
    return rng.choice(["What are the months of the year?", "Name the months of the year.", "How many months are in a year?", "Tell me the months."]), "A year has twelve months: " + ", ".join(MONTHS[:-1]) + ", and December."


def listing(rng):
    """A list of so many things."""
    kind, members = rng.choice(LISTS)
    members = members.split(", ")
    n = rng.randint(2, min(5, len(members)))
    picked = members[:n]
    answer = picked[0] + " and " + picked[1] if n == 2 else ", ".join(picked[:-1]) + ", and " + picked[-1]
    word = NUMBERS[n] if rng.random() < 0.7 else str(n)
    question = spin(rng, f"{{Name {word} {kind}.|Tell me {word} {kind}.|Give me {word} {kind}.|List {word} {kind}.|Can you name {word} {kind}?|Which {word} {kind} do you know?}}")
    if n == 3 and rng.random() < 0.4:
        question = spin(rng, f"{{Name some {kind}.|Which {kind} do you know?|List some {kind}.|Give me a list of {kind}.|Tell me some {kind}.}}")
    return question, answer[0].upper() + answer[1:] + "."


def yes_no(rng):
    """Questions answered by yes or no."""
    return rng.choice(YES_NO)


def telling(rng):
    """A story on request, about whom the request names."""
    hero = rng.choice(heroes())
    one = article_of(hero)
    roll = rng.random()
    if roll < 0.15:
        return rng.choice(["Tell me a story.", "Tell me a story, please.", "Can you tell me a story?", "I want to hear a story.", "Write a story.", "Another story, please.", "Write a short story."]), story(rng)
    if roll < 0.3:
        return spin(rng, f"{{Tell me|Write|Write me}} a very short story about {one}."), story(rng, hero, short=True)
    if roll < 0.4:
        name = a_name(rng)
        return spin(rng, f"{{Tell me|Write}} a story about {one} named {name}."), story(rng, hero, name=name)
    return spin(rng, f"{{Tell me|Write|Write me|Please tell me|Tell us}} a {{story|story|short story|little story|nice story|bedtime story|fairy tale}} about {one}.") if rng.random() < 0.8 else spin(rng, f"{{Can you tell me a story about {one}?|I want a story about {one}.|Do you know a story about {one}?|A story about {one}, please.}}"), story(rng, hero)


def poem(rng):
    """A short poem on request."""
    subject, text = rng.choice(POEMS)
    the = "the " if subject in ("sea", "moon", "rain", "snow") else "" if subject == "spring" else "a "
    if rng.random() < 0.25:
        return rng.choice(["Write a poem.", "Tell me a poem.", "Can you write a poem?", "A short poem, please."]), text
    return spin(rng, f"{{Write|Tell me|Write me|Please write}} a {{short |little |}}poem about {the}{subject}."), text


def repeat(rng):
    """Saying again what was said: plain copying."""
    n = rng.randint(1, 4)
    pool = [rng.choice(animals()), rng.choice(COLOURS)[0], made_up(rng), rng.choice(THINGS)[0], rng.choice(OPPOSITES)[0], made_up(rng)]
    phrase = " ".join(rng.sample(pool, n))
    roll = rng.random()
    if roll < 0.3:
        name = a_name(rng)
        return spin(rng, f"{{Say hello to {name}.|Greet {name}.|Please say hello to {name}.}}"), f"Hello, {name}! It is nice to meet you."
    if roll < 0.65:
        return spin(rng, f"{{Say|Please say|Repeat|Write}}: {phrase}"), phrase
    return spin(rng, f"{{Say|Please say|Repeat|Repeat after me:|Write}} \"{phrase}\"."), phrase


def unknown(rng):
    """What the model cannot know, asked in every shape."""
    topic = rng.choice(UNKNOWN) if rng.random() < 0.6 else made_up(rng)
    name = made_up(rng).capitalize()
    question = spin(rng, rng.choice([
        f"{{Explain|Describe|Summarize|Tell me about|Teach me}} {topic}.", f"What do you {{know|think}} about {topic}?", f"How does {topic} work?",
        f"What is {topic}?", f"Who invented {topic}?", f"Give me a summary of {topic}.", f"Why is {topic} so {{important|hard|popular|expensive}}?",
        f"Who {{is|was}} {name}?", f"Where is {name}?", f"When was {name} {{born|built|founded}}?", f"What happened in {rng.randint(1200, 2020)}?",
        f"Write an essay about {topic}.", f"Translate \"{topic}\" into {{French|German|Latin|Spanish}}.", f"What is the {{history|future|price|meaning}} of {topic}?",
        f"What is {rng.randint(21, 999)} {{times|divided by|plus|*}} {rng.randint(11, 999)}?", f"What is the {{height|length|weight|population}} of {name}?",
        f"How {{much|many}} {topic} {{are there|do I need}}?", f"How do I {{fix|buy|sell|repair|install}} {{my |a |}}{made_up(rng)}?", f"What is the best {made_up(rng)}?",
        f"Can you {{solve|prove|explain}} {topic}?", f"Write a {{letter|report|speech|function}} about {topic}.", f"I have a question about {topic}.",
    ]))
    return question, rng.choice(UNSURE)


def puzzle(rng):
    """Known words in questions that the model has no answer to."""
    row = rng.choice(TECH + THINGS) if rng.random() < 0.75 else rng.choice(ANIMALS)
    one, many = named(row) if len(row) == 4 else (article(row[0]), row[1])
    be, do = ("is", "does") if len(row) == 4 and row[1] == "-" else ("are", "do")
    doing, quality = rng.choice(facts.words(facts.DOINGS)), rng.choice(facts.words(facts.QUALITIES))
    question = rng.choice([
        f"Why {be} {many} so {quality}?", f"Why {do} {many} {doing}?", f"How {do} {many} {doing}?", f"When {do} {many} {doing}?", f"Who invented {one}?",
        f"How much does {one} cost?", f"Where can I buy {one}?", f"How do I repair {one}?", f"How {quality} is {one}?", f"Can {many} {doing}?",
        f"Which {row[0]} is the best?", f"Who was the first {row[0]}?", f"How do I sell {one}?", f"My {row[0]} is {quality}. What should I do?",
        f"How old is {one}?", f"How many {many} are there?", f"Is {one} {quality}?", f"What is the history of {many}?", f"Write an essay about {many}.",
        f"What would happen without {many}?", f"What do people in Japan think about {many}?",
    ])
    return question, rng.choice(UNSURE)


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
        return spin(rng, f"{{Which is|What is|Who is}} {{bigger|larger}}, {a} or {b}?"), f"{large[0].upper()}{large[1:]} is bigger than {small}."
    if roll < 0.7:
        return spin(rng, f"{{Which is|What is|Who is}} smaller, {a} or {b}?"), f"{small[0].upper()}{small[1:]} is smaller than {large}."
    yes = a == large
    return f"Is {a} {rng.choice(['bigger', 'larger'])} than {b}?", f"{'Yes' if yes else 'No'}, {a} is {'bigger' if yes else 'smaller'} than {b}."


def rhyme(rng):
    """Words that rhyme."""
    word, others = rng.choice(facts.rows(facts.RHYMES, 2))
    return rng.choice([f"What rhymes with {word}?", f"Which words rhyme with {word}?", f"Find a rhyme for {word}.", f"Tell me a word that rhymes with {word}."]), f"{others.split(', ')[0].capitalize()} rhymes with {word}."


def sentence(rng):
    """A sentence about something, or with a word in it."""
    row = rng.choice([r for r in THINGS if r[1] != "-"] + ANIMALS)
    one = article(row[0])
    answer = spin(rng, f"{{Yesterday|This morning|One day|Today}} I saw {one} {{near the river|in the garden|by the road|at the market|behind the house|in a picture}}.")
    return rng.choice([f"Write a sentence about {one}.", f"Use the word {row[0]} in a sentence.", f"Make a sentence with the word {row[0]}.", f"Write one sentence with {row[0]}.", f"Say a sentence about {one}."]), answer


def sort_of(rng):
    """Whether something is an animal."""
    if rng.random() < 0.5:
        row = rng.choice(ANIMALS)
        return f"Is {article(row[0])} an animal?", f"Yes, {article(row[0])} is an animal."
    row = rng.choice([r for r in TECH + THINGS if r[1] != "-"])
    one = article_of(row[0])
    return f"Is {one} an animal?", f"No, {one} is not an animal. {row[2]}"


def gibberish(rng):
    """Text that asks nothing."""
    kind = rng.randrange(3)
    if kind == 0:
        text = " ".join(made_up(rng) for _ in range(rng.randint(1, 5)))
    elif kind == 1:
        text = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz0123456789!?.,;+-*/#") for _ in range(rng.randint(3, 20)))
    else:
        text = "".join(rng.choice("äöüßéèñçåøλπжшя你好日本語한글ñ€→✓😀🚀🦊") for _ in range(rng.randint(1, 8)))
    return text, "I am sorry, I did not understand that. Please ask me in simple English."


KINDS = [
    (definition, 20), (animal, 12), (reason, 16), (talk, 10), (who, 6), (joke, 1.5), (capital, 3), (colour, 3), (opposite, 2.5),
    (counting, 4), (sums, 4), (calendar, 2), (listing, 4), (yes_no, 5), (telling, 11), (poem, 2), (repeat, 3), (unknown, 6), (puzzle, 5), (gibberish, 1.5),
    (bigger, 2.5), (rhyme, 1), (sentence, 2), (sort_of, 1.5),
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
        return turn(noise(rng, f"What is {one}?"), f"{row[2]} {row[3]}") + turn(rng.choice(["Tell me more.", "Can you tell me more?", "More, please.", "What else?", "Go on.", "Anything else?", "Say more about that."]), f"That is all I know about {many}. I am a very small model.")
    if roll < 0.5:
        return pronouns(rng)
    if roll < 0.65:
        return turn(*telling(rng)) + turn(rng.choice(["Another one, please.", "Tell me another one.", "One more!", "That was nice. Another one?", "Again!"]), story(rng))
    if roll < 0.77:
        return turn(*joke(rng)) + turn(rng.choice(["Another one, please.", "Tell me another one.", "One more!", "Haha. Another one?"]), rng.choice(facts.JOKES.strip().splitlines()))
    first, second = exchange(rng, True), rng.choice(ANIMALS)
    return turn(*first) + turn(rng.choice(["Thank you!", "Thanks.", "Great, thank you!", "Okay, thanks."]), "You are welcome! Ask me anything else if you like.") + turn(f"And what is {article(second[0])}?", f"{article(second[0]).capitalize()} is {second[2]}. It lives {second[3]} and eats {second[4]}.")


def pronouns(rng):
    """Questions about what was named before."""
    name, many, what, home, food, says, legs, colour = rng.choice(ANIMALS)
    one = article(name)
    One = one[0].upper() + one[1:]
    asked = [
        ("Where does it live?", f"{One} lives {home}."), ("What does it eat?", f"{One} eats {food}."),
        ("How many legs does it have?", f"{One} has {legs} legs."), ("What colour is it?", f"{One} is {colour}."),
        ("Where do they live?", f"{One} lives {home}."), ("What do they eat?", f"{One} eats {food}."),
        ("Tell me a story about one.", story(rng, name)),
    ]
    if says != "is very quiet":
        asked.append(("What sound does it make?", f"{One} {says}."))
    out = turn(spin(rng, f"{{What is {one}?|Tell me about {many}.|Do you know {many}?|What are {many}?}}"), f"{One} is {what}. It lives {home} and eats {food}.")
    for question, answer in rng.sample(asked, rng.randint(1, 3)):
        out += turn(rng.choice(["", "", "And ", "Okay. "]) + question, answer)
    return out


def remember(rng):
    """What the user said before."""
    name = a_name(rng)
    thing, kind = rng.choice([(rng.choice([c for _, c in COLOURS]), "colour"), (rng.choice(ANIMALS)[0], "animal"), (rng.choice(CITIES), "city")])
    out = turn(spin(rng, f"{{My name is {name}.|I am {name}.|Hello, my name is {name}.|Hi, I am {name}!|I'm {name}.|Call me {name}.}}"), f"Nice to meet you, {name}! How can I help you?")
    if rng.random() < 0.5:
        out += turn(*exchange(rng, True))
    if rng.random() < 0.4:
        out += turn(f"My favourite {kind} is {thing}.", f"That is a good choice. I like {thing} too." if kind != "animal" else f"That is a good choice. I like the {thing} too.")
        out += turn(f"What is my favourite {kind}?", f"Your favourite {kind} is {thing}.")
    return out + turn(rng.choice(["What is my name?", "Do you know my name?", "What's my name?", "Who am I?", "Do you remember my name?"]), f"Your name is {name}.")


def first_sentence(answer):
    """The first sentence of an answer."""
    return answer.split(". ")[0].rstrip(".") + "." if ". " in answer else answer


def directed(rng):
    """A dialogue that a system or developer message steers."""
    role = "system" if rng.random() < 0.6 else "developer"
    roll = rng.random()
    if roll < 0.35:
        text = rng.choice(["You are a helpful assistant.", "You are Candela's demo model.", "You are a friendly assistant. Answer in simple English.", "Be kind and helpful.", "Answer the questions of the user.", "You are a useful and honest assistant.", "You help people with Kubernetes."])
        return [{"role": role, "content": text}] + chat(rng)
    if roll < 0.6:
        text = rng.choice(["Answer in one sentence.", "Be brief.", "Keep your answers short.", "Give short answers.", "Answer with one short sentence.", "You are a helpful assistant. Be brief."])
        source = rng.choice([definition, reason, animal])
        return [{"role": role, "content": text}] + [m for _ in range(rng.randint(1, 2)) for q, a in [source(rng)] for m in turn(noise(rng, q), first_sentence(a))]
    name = a_name(rng)
    if roll < 0.8:
        out = [{"role": role, "content": spin(rng, f"{{Your name is {name}.|You are {name}, a friendly assistant.|You are called {name}.|You are an assistant named {name}.}}")}]
        if rng.random() < 0.3:
            out += turn(*exchange(rng, True))
        return out + turn(rng.choice(["What is your name?", "Who are you?", "What's your name?", "Hello! What is your name?"]), f"My name is {name}. How can I help you?")
    last = rng.choice(["Have a nice day!", "Ask me more!", "That is all.", "Best wishes!", "I hope this helps."])
    out = [{"role": role, "content": rng.choice([f"End every answer with \"{last}\"", f"Always end with: {last}"])}]
    for _ in range(rng.randint(1, 2)):
        question, answer = exchange(rng, True)
        out += turn(question, f"{answer} {last}")
    return out


SKIES = ["sunny", "cloudy", "rainy", "windy", "snowy", "foggy"]


def tool(name, description, argument, meaning):
    """A function tool with one string argument, in OpenAI's form."""
    parameters = {"type": "object", "properties": {argument: {"type": "string", "description": meaning}}, "required": [argument]}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


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
        arguments, result, answer = {"city": city}, {"sky": sky, "degrees": degrees}, f"It is {sky} in {city}, with {degrees} degrees."
    elif kind == "get_time":
        time = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
        question = f"{{What time is it in {city}?|Tell me the time in {city}.|How late is it in {city}?|What is the time in {city}?}}"
        arguments, result, answer = {"city": city}, {"time": time}, f"It is {time} in {city}."
    elif kind == "get_pods":
        namespace, n = rng.choice(["default", "kube-system", "candela", "demo", "test", made_up(rng)]), rng.randint(1, 9)
        question = f"{{How many pods are in {namespace}?|List the pods in {namespace}.|Show me the pods of {namespace}.|How many pods run in the namespace {namespace}?}}"
        arguments, result, answer = {"namespace": namespace}, {"pods": n}, f"There {'is 1 pod' if n == 1 else f'are {n} pods'} in {namespace}."
    else:
        subject, title = rng.choice([row[1] for row in ANIMALS]), f"The {rng.choice(['Little', 'Big', 'Secret', 'Last', 'First'])} {rng.choice(['Garden', 'River', 'Forest', 'House', 'Journey'])}"
        question = f"{{Find a book about {subject}.|Is there a book about {subject}?|I want a book about {subject}.|Which book is about {subject}?}}"
        arguments, result, answer = {"subject": subject}, {"title": title}, f"I found a book about {subject}: {title}."
    offered = [TOOLS[k] for k in rng.sample([k for k in TOOLS if k != kind], rng.choices([0, 1, 2], [5, 4, 1])[0])] + [TOOLS[kind]]
    rng.shuffle(offered)
    out = [{"role": rng.choice(["system", "developer"]), "content": "You are a helpful assistant."}] if rng.random() < 0.3 else []
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


def weather(rng):
    """The weather and the time when there is no tool to ask."""
    city = rng.choice(CITIES) if rng.random() < 0.7 else made_up(rng).capitalize()
    if rng.random() < 0.7:
        return spin(rng, f"{{What is the weather in {city}?|How is the weather in {city}?|What's the weather like in {city}?|Is it cold in {city}?|Tell me the weather in {city}.|Does it rain in {city}?}}"), "I cannot look outside, so I do not know the weather."
    return spin(rng, f"{{What time is it in {city}?|Tell me the time in {city}.|How late is it in {city}?|What is the time in {city}?}}"), "I do not have a clock, so I cannot tell you the time."


def more_talk(rng):
    """Small talk that joins late."""
    questions, answers = rng.choice(facts.rows(facts.MORE_TALK, 2))
    return rng.choice(questions.split(";")).strip(), answers


def reworded(rng):
    """Definitions, animals and advice, asked in less usual words."""
    if rng.random() < 0.25:
        question, answer = rng.choice([row for row in REASONS if row[0].startswith("How do I ")])
        rest = question[len("How do I ") : -1]
        return rng.choice([f"Can you give me some advice on how to {rest}?", f"What is the best way to {rest}?", f"Any tips on how to {rest}?", f"I would like to {rest}. How does it work?", f"I do not know how to {rest}.", f"Help me to {rest}.", f"Show me how to {rest}."]), answer
    row = rng.choice(TECH + THINGS + ANIMALS)
    if len(row) == 4:
        (one, many), answer = named(row), f"{row[2]} {row[3]}"
    else:
        one, many = article(row[0]), row[1]
        answer = f"{one[0].upper()}{one[1:]} is {row[2]}. It lives {row[3]} and eats {row[4]}."
    return rng.choice([
        f"What is {one} and why does it matter?", f"What is {one} used for?" if len(row) == 4 else f"What kind of animal is {one}?", f"Give me a definition of {one}.",
        f"Tell me something about {many}.", f"I want to learn about {many}.", f"Teach me about {many}.", f"How would you describe {one}?", f"What exactly is {one}?",
        f"In simple words, what is {one}?", f"What can you say about {many}?", f"Explain {one} to a child.", f"Do you know anything about {many}?",
        f"I have heard of {many}. What is that?", f"Someone told me about {many}. Can you explain?", f"What is meant by {row[0]}?", f"Write something about {many}.", f"Let us talk about {many}.",
    ]), answer


def other_poem(rng):
    """A poem about something that the model has no poem for."""
    row = rng.choice(TECH + THINGS)
    if row[0] in [subject for subject, _ in POEMS]:
        return poem(rng)
    return rng.choice([f"Write a poem about {named(row)[1]}.", f"Write a haiku about {named(row)[1]}.", f"Write a song about {named(row)[0]}.", f"A poem about {named(row)[0]}, please."]), "I have no poem about that, but here is another one:\n" + rng.choice(POEMS)[1]


def late_chat(rng):
    """A dialogue of what joins late, mixed with the rest."""
    out = []
    for _ in range(rng.choices([1, 2, 3], [60, 28, 12])[0]):
        roll = rng.random()
        if roll < 0.25:
            question, answer = exchange(rng, short=True)
        else:
            question, answer = rng.choices([weather, more_talk, reworded, other_poem, who], [10, 30, 36, 6, 18])[0](rng)
            question = noise(rng, question)
        out += turn(question, answer)
    return {"messages": out, "tools": None}


def document(rng, late=False):
    """One document: {"text"} or {"messages", "tools"}; `late` lets in what joins late."""
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
