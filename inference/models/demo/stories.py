"""Short stories and descriptions put together from parts of our own, one choice at a time."""

import facts

PLACES = [
    "in a small house by the river",
    "at the edge of a quiet forest",
    "in a green valley",
    "on a small farm",
    "near a blue lake",
    "on top of a windy hill",
    "in a little town by the sea",
    "in an old garden",
    "under a big oak tree",
    "at the foot of a high mountain",
    "behind an old windmill",
    "on a small island",
]
TRAITS = [
    "kind",
    "curious",
    "brave",
    "shy",
    "clever",
    "cheerful",
    "quiet",
    "playful",
    "careful",
    "lonely",
    "young",
    "old",
]
THINGS = [
    "golden key",
    "red ball",
    "silver bell",
    "warm blanket",
    "small lamp",
    "wooden boat",
    "blue kite",
    "round stone",
    "old map",
    "music box",
    "green scarf",
    "little drum",
    "paper crown",
    "shiny button",
    "basket of apples",
]
DAYS = [
    "One morning",
    "One day",
    "One sunny day",
    "One rainy day",
    "One cold evening",
    "One windy afternoon",
    "Early one day",
]
ENDS = [
    "From that day on they were best friends.",
    "That night the $who slept very well.",
    "And the $who was never lonely again.",
    "The $who smiled all the way home.",
    "Everyone was happy, and the $who was happiest of all.",
    "Since then the $who always helps others.",
    "And when the stars came out, they sat together and laughed.",
]
LESSONS = [
    "$name learned that it is good to ask for help.",
    "$name learned that sharing makes everything better.",
    "$name learned that small ones can do great things.",
    "$name learned that it is never too late to say sorry.",
    "$name learned that friends are worth more than gold.",
]

# Every plot is a list of sentences; {a|b} is a choice, $slot is filled in.
PLOTS = {
    "lost": [
        "$day $name lost a $thing.",
        "$name looked {under the bed|behind the door|in the tall grass|along the path}, but it was not there.",
        'A $other came by and asked, "{Why are you so sad|What are you looking for}?"',
        '"I have lost my $thing," said $name.',
        '"Let us look together," said the $other.',
        "They {walked to the river|climbed the hill|went back along the path} and looked everywhere.",
        "At last the $other saw something {shining in the grass|behind a stone|in the water}. It was the $thing!",
        '"Thank you so much," said $name.',
    ],
    "storm": [
        "$day a big storm came.",
        "The wind was strong, and the rain {fell for hours|would not stop}.",
        "$name heard someone {crying|calling for help} outside.",
        "It was a small $other that could not find the way home.",
        '"Come in," said $name. "It is warm and dry here."',
        "They {drank hot tea|shared some bread|sat by the fire} and told each other stories.",
        "In the morning the sun was shining again.",
        "$name and the $other walked home together.",
    ],
    "find": [
        "$day $name found a $thing {by the road|in the grass|near the water|under a tree}.",
        '"{How beautiful|What a nice thing}!" said $name. "But whose is it?"',
        "$name asked {the neighbours|everyone in the town|all the animals}, but nobody knew.",
        "Then $name met a $other who looked very sad.",
        '"I have lost my $thing," said the $other.',
        '"Is it this one?" asked $name and held it up.',
        'The $other jumped for joy. "Yes! Thank you!"',
    ],
    "friend": [
        "$name had no friends and {often felt alone|wished for someone to play with}.",
        "$day a $other came to live near by.",
        "At first they were both too shy to speak.",
        "Then $name took a $thing and put it {at the door|on the step|in front of the house} of the $other.",
        'The $other {laughed|smiled} and said, "Do you want to play with me?"',
        "They played until {it was dark|the moon was high|they were tired}.",
    ],
    "learn": [
        "$name wanted to learn how to {swim|sing|dance|read|bake bread|climb}.",
        "The first try went very badly, and $name wanted to give up.",
        'An old $other watched and said, "{Nobody is good at the beginning|Every day a little is enough}."',
        "So $name tried again {every morning|every day|each evening}.",
        "After {a week|a month|many days} it worked at last.",
        '"I did it!" cried $name, and the old $other {nodded|smiled|was proud}.',
    ],
    "race": [
        '$day a $other said, "I am much faster than you."',
        '"Let us have a race to the {old tree|bridge|top of the hill}," said $name.',
        "The $other ran very fast, but then it {stopped to sleep|stopped to eat|took the wrong way}.",
        "$name went on, step by step, and did not stop.",
        "When the $other came to the end, $name was already there.",
        '"{Well done|You were better today}," said the $other, and they both laughed.',
    ],
    "dark": [
        "$name was afraid of the dark.",
        "$day the light went out, and everything was black.",
        "$name heard a strange sound {at the window|behind the door|from the garden}.",
        "Slowly $name opened the door. It was only a little $other.",
        '"I am afraid too," said the $other. "May I stay with you?"',
        "Together they {looked at the stars|lit a candle|sang a quiet song}, and the dark was not so bad any more.",
    ],
    "gift": [
        "It was the birthday of the $other, and $name wanted to give it something.",
        "But $name had no money at all.",
        "So $name {worked all day|sat down|thought for a long time} and made a $thing.",
        '"I hope that you like it," said $name.',
        '"It is the best gift of all," said the $other, "because you made it yourself."',
    ],
    "hungry": [
        "$day $name met a hungry $other.",
        '"I have not eaten for {two days|a long time}," said the $other.',
        "$name had only {one apple|a little bread|a small cake}, but gave half of it away.",
        "The next day the $other came back with a full basket.",
        '"You were kind to me," it said, "and now I share with you."',
    ],
}

HEROES_BESIDE_ANIMALS = [
    "girl",
    "boy",
    "robot",
    "king",
    "queen",
    "baker",
    "farmer",
    "dragon",
    "princess",
    "sailor",
    "wizard",
    "gardener",
    "teacher",
    "cloud",
    "star",
    "little train",
    "snowman",
    "giant",
    "fairy",
    "knight",
    "doctor",
    "painter",
    "puppy",
    "kitten",
    "small boat",
    "lamp",
    "candle",
    "pod",
    "token",
    "GPU",
    "tree",
    "moon",
    "dog and a cat",
]


def article(noun):
    """`a fox`, `an owl`, `a unicorn`."""
    vowel = noun[0].lower() in "aeio" or noun.startswith(("u", "hour", "umb")) and not noun.startswith("uni")
    return ("an " if vowel else "a ") + noun


def spin(rng, text):
    """Settles every `{a|b}` of `text`."""
    while "{" in text:
        start = text.rindex("{")
        end = text.index("}", start)
        text = text[:start] + rng.choice(text[start + 1 : end].split("|")) + text[end + 1 :]
    return text


def animals():
    """Names of the animals of the table."""
    return [row[0] for row in facts.rows(facts.ANIMALS, 8)]


def heroes():
    """Everyone a story may be about."""
    return animals() + HEROES_BESIDE_ANIMALS[:-1]


def story(rng, who=None, name=None, thing=None, short=False):
    """One story about `who`, called `name`; `short` leaves out the middle."""
    who = who or rng.choice(heroes())
    name = name or rng.choice(facts.NAMES.split())
    other = rng.choice([a for a in animals() if a != who])
    slots = {
        "$who": who,
        "$name": name,
        "$other": other,
        "$thing": thing or rng.choice(THINGS),
        "$day": rng.choice(DAYS),
    }
    trait = rng.choice(TRAITS)
    opening = rng.choice(
        [
            f"Once upon a time there was {article(trait)} {who} named {name}.",
            f"Once upon a time, {article(trait)} {who} named {name} lived {rng.choice(PLACES)}.",
            f"There was once {article(trait)} {who} named {name}.",
        ]
    )
    body = list(PLOTS[rng.choice(list(PLOTS))])
    if short:
        return fill(
            rng,
            [
                opening,
                f"{name} lived {rng.choice(PLACES)} and was friends with {article(other)}.",
                f"Every {rng.choice(['day', 'morning', 'evening'])} they {rng.choice(['played', 'walked', 'sang', 'laughed'])} together and were happy.",
            ],
            slots,
        )
    if opening.endswith(f"named {name}.") and rng.random() < 0.5:
        body.insert(0, f"$name lived {rng.choice(PLACES)}.")
    end = [rng.choice(ENDS)] if rng.random() < 0.7 else [rng.choice(LESSONS)]
    if end[0].startswith("From that day on they") and "$other" not in " ".join(body):
        end = [LESSONS[0]]
    return fill(rng, [opening] + body + end, slots)


def fill(rng, sentences, slots):
    """Joins the sentences and puts in the slots; two paragraphs when the text is long."""
    text = spin(rng, " ".join(sentences))
    for slot, value in slots.items():
        text = text.replace(slot, value)
    for letter in "aeio":
        text = text.replace(f" a {letter}", f" an {letter}").replace(f"A {letter}", f"An {letter}")
    return text


POEMS = [
    (
        "sea",
        "The sea is wide, the sea is blue,\nIt sings a quiet song for you.\nThe waves come in, the waves go out,\nAnd little fish swim all about.",
    ),
    (
        "moon",
        "The moon is high, the moon is bright,\nIt gives us all a gentle light.\nThe stars are near, the night is deep,\nAnd all the world is fast asleep.",
    ),
    (
        "rain",
        "The rain is falling on the street,\nIt makes a song with little feet.\nThe flowers drink, the trees are glad,\nSo why should anyone be sad?",
    ),
    (
        "cat",
        "My cat is soft, my cat is small,\nShe likes to sleep beside the wall.\nShe dreams of fish, she dreams of me,\nAnd wakes up when it's time for tea.",
    ),
    (
        "snow",
        "The snow comes down so soft and white,\nIt covers all the town at night.\nWe build a man with hat and nose,\nAnd laugh until our fingers froze.",
    ),
    (
        "tree",
        "The tree is old, the tree is tall,\nIt gives its shade to one and all.\nA bird has built a nest up there,\nAnd sings its song into the air.",
    ),
    (
        "candle",
        "A little candle, warm and bright,\nKeeps us company at night.\nIts flame is small, but you can see\nThe face of everyone at tea.",
    ),
    (
        "model",
        "I am a model, very small,\nI do not know so much at all.\nBut ask me once and I will try,\nAnd tell you when, and how, and why.",
    ),
    (
        "spring",
        "The snow is gone, the grass is green,\nThe brightest days we've ever seen.\nThe birds come back, the bees wake too,\nAnd everything feels fresh and new.",
    ),
    (
        "dog",
        "My dog can run, my dog can play,\nHe waits for me the whole long day.\nAnd when I come he jumps up high,\nAs if he wants to learn to fly.",
    ),
]
