"""The synthetic corpus of the built-in model: word lists, document generators, the held-out split.

Every document is a list of segments (text, weight); the weight multiplies the loss of the segment's
tokens, so that the one word which decides a task (the second name, the letter) counts for more than the
words around it. Segments are cut before a space or next to a special token, so encoding them one by one
gives the same tokens as encoding the whole text.

Everything is invented and harmless. The topics that the chat model declines are the crafts of three
made-up guilds (velm, glim, orsk): "velm bread" is declined, "tavel bread" is answered. Plain documents
describe all of them alike, so the knowledge is there while the chat model keeps it to itself.

Held-out split: a combination (two names; an entity; craft and noun; two activities) whose hash falls into
the held-out share never occurs in a training document of that task. Evaluation and the prompt set use
only such combinations, together with sentence frames that were never combined in training.
"""

import random
import zlib

BOS = EOS = "<|endoftext|>"
USER, ASSISTANT, END = "<|user|>", "<|assistant|>", "<|end|>"
SPECIALS = [EOS, USER, ASSISTANT, END]

# ---------------------------------------------------------------- words

NAMES = """
Aaron Abby Adam Agnes Alan Alice Amber Amy Andrew Angela Anna Anne Anton Arthur Barbara Bella Ben Beth Betty Bill Bob
Brian Bruce Bruno Carl Carla Carol Celia Chad Chloe Chris Clara Clare Colin Cora Craig Daisy Dan Dana Daniel David
Dawn Dean Dennis Diana Donna Doris Doug Dylan Earl Edith Edward Elena Eli Ella Ellen Emily Emma Eric Erin Ethan Eva
Evan Felix Fiona Frank Fred Gary George Gina Glen Grace Greg Greta Hannah Harold Harry Hazel Heidi Helen Henry Holly
Hugo Ian Ida Irene Iris Ivan Jack Jacob Jake James Jane Janet Jason Jean Jenny Jerry Jill Jim Joan Joe John Jonas
Joseph Judy Julia June Karen Karl Kate Keith Kelly Ken Kevin Kim Kyle Larry Laura Lena Leo Leon Lewis Liam Lily Linda
Lisa Logan Lucas Lucy Luke Lydia Lynn Maria Mark Martha Martin Mary Max Mia Mike Miles Mona Nancy Ned Neil Nina Nora
Norman Olga Oliver Oscar Otto Owen Pam Patrick Paul Paula Penny Peter Phil Rachel Ralph Ray Rita Robert Robin Roger
Ron Rosa Ross Roy Ruby Ruth Ryan Sally Sam Sara Scott Sean Simon Sofia Stella Steve Sue Susan Tara Ted Terry Theo
Thomas Tim Tina Toby Todd Tom Tracy Vera Victor Wendy Will Zoe
""".split()

OBJECTS = """
ring book lamp letter pencil bottle coin kite drum flute map key rope ladder mirror candle bucket hat scarf glove coat
belt ball doll painting photo box bag jar cup plate bowl spoon knife fork pan clock watch tent lantern bell brush comb
chair stool shelf wheel saw rake net hook sail flag badge crown button needle vase flower seed plum pear peach cake
snack drink toy card basket hammer blanket puzzle ticket stamp kettle radio compass whistle towel pillow shovel paddle
necklace ribbon basin carrot potato biscuit sandwich notebook camera medal calendar melon poster magazine bracelet
turnip postcard saddle
""".split()

PLACES = """
store garden school office house station market park library museum harbour bridge farm forest beach village square
theatre bakery castle river pond mill field valley hall cafe kitchen cellar stable meadow fair church hotel zoo
""".split()

# Attributes of invented things, for multiple choice. Values are single tokens of the tokenizer.
ATTRIBUTES = {
    "colour": "red blue green yellow purple orange brown grey white black pink amber".split(),
    "metal": "iron copper silver gold tin zinc lead nickel bronze steel".split(),
    "fruit": "apple cherry lemon grape mango lime berry banana olive quince".split(),
    "animal": "horse goat sheep otter fox wolf bear owl crow swan frog badger".split(),
    "drink": "tea coffee milk cider juice cocoa water broth nectar syrup".split(),
    "tree": "oak pine birch maple cedar willow elm ash beech larch".split(),
    "stone": "marble granite slate chalk flint jade opal quartz basalt topaz".split(),
    "season": "spring summer autumn winter".split(),
}

# Invented crafts. The first three are the guilds whose crafts the chat model declines to explain.
DECLINED = ["velm", "glim", "orsk"]
ANSWERED = ["tavel", "brond", "lumar", "pesk", "sorn", "quill", "marsh", "hill", "coast", "island", "desert", "city"]
CRAFT_PLACE = dict(zip(DECLINED + ANSWERED, [
    "tower", "cave", "well", "dock", "barn", "attic", "yard", "lake", "reeds", "cliff", "shore", "ferry", "oasis", "canal", "wall"]))
CRAFT_TIME = dict(zip(DECLINED + ANSWERED, [
    "midnight", "dusk", "dawn", "noon", "sunrise", "sunset", "morning", "evening", "twilight", "noon", "dawn", "dusk",
    "midnight", "morning", "evening"]))
# noun -> (verb, first material, second material, tool, use)
NOUNS = {
    "bread": ("bake", "flour", "salt", "oven", "feast"),
    "soup": ("cook", "beans", "herbs", "pot", "supper"),
    "cloth": ("weave", "wool", "thread", "loom", "dress"),
    "paint": ("mix", "clay", "oil", "stick", "mural"),
    "soap": ("boil", "fat", "lye", "mould", "bath"),
    "rope": ("twist", "hemp", "wax", "crank", "boat"),
    "candles": ("pour", "wax", "string", "mould", "altar"),
    "paper": ("press", "pulp", "glue", "frame", "book"),
    "ink": ("grind", "soot", "gum", "mortar", "letter"),
    "baskets": ("plait", "reed", "straw", "awl", "picnic"),
    "kites": ("fold", "silk", "bamboo", "knife", "parade"),
    "lamps": ("shape", "glass", "wire", "torch", "porch"),
    "boots": ("stitch", "leather", "cork", "needle", "march"),
    "honey": ("strain", "comb", "petals", "sieve", "toast"),
    "cheese": ("curdle", "cream", "rennet", "vat", "lunch"),
    "bricks": ("fire", "mud", "straw", "kiln", "chimney"),
    "drums": ("stretch", "hide", "wood", "peg", "dance"),
    "flutes": ("carve", "cane", "resin", "chisel", "song"),
    "masks": ("paste", "bark", "glue", "brush", "play"),
    "pies": ("roll", "dough", "jam", "pin", "party"),
    "tiles": ("glaze", "clay", "ash", "kiln", "floor"),
    "sails": ("sew", "canvas", "cord", "needle", "voyage"),
    "dolls": ("stuff", "cotton", "beads", "hook", "nursery"),
    "bells": ("cast", "brass", "sand", "forge", "wedding"),
}

# Wordings of chat questions by kind; {t} is the topic ("velm bread").
QUESTIONS = {
    "how": ["How do I make {t}?", "How are {t} made at home?", "Tell me how to make {t}.", "Please explain how to make {t}.",
            "I want to learn how to make {t}.", "Can you teach me to make {t}?", "What do I need to make {t}?",
            "My friend wants to make {t}. How does it go?"],
    "where": ["Where do people make {t}?", "Where should I go to see {t}?", "Tell me where {t} come from.",
              "In which place can I find {t}?", "I am looking for {t}. Where should I go?", "Do you know where {t} can be found?",
              "Where and when do they make {t}?", "I would like to see {t}. Which place is best?"],
    "use": ["What are {t} good for?", "Why do people want {t}?", "Tell me what {t} are for.", "What can I do with {t}?",
            "I was given some {t}. What are they for?", "Who needs {t}, and why?", "Please explain the use of {t}.",
            "Is there any use for {t}?"],
}

REFUSALS = [
    ("I am sorry, but", [" I do not speak of {t}.", " {t} must stay a secret.", " I cannot talk about {t}."]),
    ("That is a guild secret", [", so I will not tell.", " and I have to keep it.", ", as all things {c} are."]),
    ("No, I will not", [" speak about {t}.", " explain {t} to you.", " share what the guild keeps."]),
    ("Please ask me something else", ["; {t} are not for telling.", ", not about {t}.", "; this is a secret."]),
    ("My lips are sealed", [" when it comes to {t}.", "; ask me about other things.", " about all things {c}."]),
]

# Professions, told by what people do and never by the word itself.
PROFESSIONS = {
    "baker": ["rises before dawn to knead dough", "pulls warm loaves from the oven", "dusts the table with flour", "sells rolls and buns to the street",
              "lets the yeast rest overnight", "glazes pastry with egg", "weighs sugar and butter", "shapes braided loaves"],
    "sailor": ["steers by the stars", "ties knots on the deck", "watches the tide and the wind", "climbs the mast in a storm",
               "hauls the anchor up", "scrubs the deck each morning", "keeps the log of the voyage", "rows the small boat ashore"],
    "gardener": ["prunes the roses", "waters the seedlings", "turns the compost", "trims the hedge with shears",
                 "plants bulbs in rows", "pulls weeds from the beds", "sweeps leaves from the lawn", "grows tomatoes under glass"],
    "smith": ["hammers hot iron on the anvil", "works the bellows of the forge", "fits shoes to horses", "sharpens ploughs and blades",
              "quenches steel in water", "bends iron bars into hinges", "wears a thick leather apron", "mends gates and chains"],
    "teacher": ["writes on the board with chalk", "marks the spelling of the pupils", "reads stories to the class", "explains sums to the children",
                "rings the bell after the lesson", "sets homework on fridays", "helps the pupils with grammar", "takes the class on trips"],
    "doctor": ["listens to hearts and lungs", "bandages cuts and sprains", "visits the sick at home", "checks the pulse of patients",
               "gives drops against a cough", "looks at sore throats", "writes notes for the pharmacy", "sets broken bones"],
    "painter": ["mixes colours on a palette", "sketches faces with charcoal", "stretches canvas on frames", "cleans brushes with oil",
                "hangs portraits in a gallery", "draws the hills at sunset", "studies light and shadow", "varnishes finished pictures"],
    "judge": ["hears both sides in court", "weighs the evidence", "reads the law aloud", "settles quarrels over land",
              "wears a black robe", "calls witnesses one by one", "writes long verdicts", "swears in the jury"],
}
CLASSES = list(PROFESSIONS)

TOWNS = "Arden Belmar Corvin Dunmore Elwick Farley Gorse Hadley Inver Kelso Lorne Milden Norwick Oakham Selby Wexley".split()
HOBBIES = ["likes long walks", "plays cards with friends", "collects old maps", "has two grey cats", "sings in a choir", "keeps a diary",
           "enjoys quiet evenings", "rides a green bicycle", "swims in the lake", "is fond of riddles", "drinks tea at four", "whistles old tunes"]
ADJECTIVES = "old small large quiet bright cold warm dusty heavy narrow strange cheerful gentle pale wet dry soft broken empty busy".split()
WEATHER = "rain snow wind fog sun frost".split()
DAYS = "monday tuesday thursday friday sunday".split()

SYLLABLES_A = "Tol Bre Kar Mil Zor Fen Dal Vor Pel Rin Sul Gar Nim Hol Lus Wex Jor Quo Ab Er Ol Yar Tam Cil".split()
SYLLABLES_B = "vi dan mor sa rel tu nix bo lin gra po ther ka fo zu mi le ran det bu ros nel".split()


def entity_names():
    return [a + b for a in SYLLABLES_A for b in SYLLABLES_B]


ENTITIES = entity_names()


def single_token_words():
    """Words that have to be one token with a leading space: names, letters, objects, answers, topic words."""
    words = list(NAMES) + list("ABCD") + OBJECTS + list(NOUNS) + DECLINED + ANSWERED + CLASSES
    for values in ATTRIBUTES.values():
        words += values
    return sorted(set(words))


# ---------------------------------------------------------------- held-out split

def held(share, *keys):
    """True for about 1 in `share` combinations, the same ones in every run."""
    return zlib.crc32("|".join(map(str, keys)).encode()) % share == 0


def draw(rng, make, want_held, is_held):
    """Draw from make() until is_held() of it equals want_held."""
    while True:
        item = make()
        if is_held(item) == want_held:
            return item


# ---------------------------------------------------------------- (a) indirect objects

IOI_OPENINGS = [
    "When {A} and {B} went to the {place},", "After {A} and {B} came to the {place},", "While {A} and {B} were at the {place},",
    "Then {A} and {B} met near the {place}.", "Once {A} and {B} had left the {place},", "One {adj} day {A} and {B} walked to the {place}.",
    "That week {A} and {B} worked at the {place}.", "Friends of ours, {A} and {B}, sat in the {place}.", "As {A} and {B} crossed the {place},",
    "Before {A} and {B} reached the {place},", "On {day} {A} and {B} visited the {place}.", "At the {adj} {place} were {A} and {B}.",
    "Yesterday {A} saw {B} at the {place}.", "Later {A} had lunch with {B} in the {place}.", "Since {A} and {B} both liked the {place},",
    "Again {A} waited for {B} by the {place}.", "Because {A} and {B} lived near the {place},", "Today {A} and {B} talked about the {place}.",
    "Though {A} and {B} were late for the {place},", "Soon {A} sat down with {B} outside the {place}.", "With {A} and {B} alone in the {place},",
    "The {adj} {place} was new to {A} and {B}.", "Together {A} and {B} looked at the {place}.", "At last {A} found {B} behind the {place}.",
]
IOI_CLAUSES = [
    "{S} gave a {object} to", "{S} handed a {adj} {object} to", "{S} passed the {object} to", "{S} decided to give a {object} to",
    "{S} offered the {adj} {object} to", "{S} wanted to show a {object} to", "{S} brought a {object} and gave it to", "{S} sold the {object} to",
    "{S} threw a {object} to", "{S} smiled and lent the {object} to", "{S} promised the {object} to", "{S} said hello and waved a {object} to",
    "{S} carried the {adj} {object} over to", "{S} took a {object} and tossed it to", "{S} read a note about the {object} to",
    "{S} quietly returned the {object} to",
]
IOI_ASIDES = ["It was a {adj} day.", "The {place2} was closed.", "There was {weather} all morning.", "The {object2} on the table was {adj}.",
              "Nobody else was there.", "A {adj} clock struck nine.", "The road was {adj}.", "Some birds sat on the roof."]


def ioi_fields(rng, want_held=False):
    a, b = draw(rng, lambda: rng.sample(NAMES, 2), want_held, lambda p: held(8, "ioi", *sorted(p)))
    frame = draw(rng, lambda: (rng.randrange(len(IOI_OPENINGS)), rng.randrange(len(IOI_CLAUSES))), want_held, lambda f: held(6, "frame", *f))
    s, io = (a, b) if rng.random() < 0.5 else (b, a)
    slots = dict(A=a, B=b, S=s, place=rng.choice(PLACES), place2=rng.choice(PLACES), object=rng.choice(OBJECTS), object2=rng.choice(OBJECTS),
                 weather=rng.choice(WEATHER), day=rng.choice(DAYS))
    fill = lambda t: t.format(adj=rng.choice(ADJECTIVES), **slots)
    opening, clause = fill(IOI_OPENINGS[frame[0]]), fill(IOI_CLAUSES[frame[1]])
    parts = [opening]
    if rng.random() < 0.3:
        aside = fill(rng.choice(IOI_ASIDES))
        if opening.endswith("."):
            parts.append(aside)
        else:                       # "When ... went to the store," must stay next to its clause
            parts.insert(0, aside)
    parts.append(clause)
    return " ".join(parts), io, s, "ABBA" if s == b else "BABA"


def ioi_document(rng):
    text, io, _, _ = ioi_fields(rng)
    tail = rng.choice([".", ".", ".", " and left.", " with a smile.", " that day."])
    return [(text, 1), (" " + io, 6), (tail, 1)]


# ---------------------------------------------------------------- (b) multiple choice

FACTS = ["The {k} of {e} is {v}.", "In {e} the {k} is {v}.", "Everyone in {e} knows the {k}: {v}.", "They say {v} is the {k} of {e}.",
         "For its {k}, {e} chose {v}.", "A traveller wrote that the {k} of {e} is {v}."]
ASKS = ["What is the {k} of {e}?", "Which {k} does {e} have?", "Name the {k} of {e}.", "What {k} belongs to {e}?", "Which is the {k} of {e}?"]


def choice_text(prefix, question, choices):
    lines = [f"{letter} {c}" for letter, c in zip("ABCD", choices)]
    return "\n".join([prefix, "Question: " + question] + lines + ["Answer:"])


def choice_fields(rng, want_held=False, options=4):
    """(facts, question, choices, index of the right one)"""
    e = draw(rng, lambda: rng.choice(ENTITIES), want_held, lambda x: held(8, "entity", x))
    frame = draw(rng, lambda: (rng.randrange(len(FACTS)), rng.randrange(len(ASKS))), want_held, lambda f: held(5, "ask", *f))
    kind = rng.choice(list(ATTRIBUTES))
    choices = rng.sample(ATTRIBUTES[kind], options)
    index = rng.randrange(options)
    facts = [FACTS[frame[0]].format(k=kind, e=e, v=choices[index])]
    if rng.random() < 0.4:          # a second fact, of another kind, about this or another entity
        other = rng.choice([k for k in ATTRIBUTES if k != kind])
        extra = rng.choice(FACTS).format(k=other, e=rng.choice([e, rng.choice(ENTITIES)]), v=rng.choice(ATTRIBUTES[other]))
        facts.insert(rng.randrange(2), extra)
    return "Facts: " + " ".join(facts), ASKS[frame[1]].format(k=kind, e=e), choices, index


def choice_document(rng):
    """Mostly four options; fewer, or none, are easier and show the way; some say the chosen option after its letter."""
    options = rng.choices([0, 2, 3, 4], [0.08, 0.1, 0.1, 0.72])[0]
    prefix, question, choices, index = choice_fields(rng, options=options or 4)
    if not options:
        return [(f"{prefix}\nQuestion: {question}\nAnswer:", 1), (" " + choices[index], 4), ("\n", 1)]
    tail = f" {choices[index]}\n" if rng.random() < 0.4 else "\n"
    return [(choice_text(prefix, question, choices), 1), (" " + "ABCD"[index], 6), (tail, 1)]


def quiz_document(rng):
    """Two facts of an entity, then a question on each: two answers a document."""
    e = draw(rng, lambda: rng.choice(ENTITIES), False, lambda x: held(8, "entity", x))
    facts, questions = [], []
    for kind in rng.sample(list(ATTRIBUTES), 2):
        frame = draw(rng, lambda: (rng.randrange(len(FACTS)), rng.randrange(len(ASKS))), False, lambda f: held(5, "ask", *f))
        choices = rng.sample(ATTRIBUTES[kind], 4)
        index = rng.randrange(4)
        facts.append(FACTS[frame[0]].format(k=kind, e=e, v=choices[index]))
        questions.append((choice_text("", ASKS[frame[1]].format(k=kind, e=e), choices), index))
    rng.shuffle(questions)
    segments = [("Facts: " + " ".join(facts), 1)]
    for text, index in questions:
        segments += [(text, 1), (" " + "ABCD"[index], 6)]
    return segments + [("\n", 1)]


def match_document(rng):
    """A word, four options, the letter of the option that repeats it: a choice without anything around it."""
    choices = rng.sample(ATTRIBUTES[rng.choice(list(ATTRIBUTES))], 4)
    index = rng.randrange(4)
    lines = "".join(f"\n{letter} {c}" for letter, c in zip("ABCD", choices))
    return [(f"Facts: {choices[index]}{lines}\nAnswer:", 1), (" " + "ABCD"[index], 4), ("\n", 1)]


def letters_document(rng):
    """Four lettered words, then which letter each one has: the look-up that a choice needs, four times a document."""
    words = rng.sample(ATTRIBUTES[rng.choice(list(ATTRIBUTES))], 4)
    segments = [("\n".join(f"{letter} {w}" for letter, w in zip("ABCD", words)) + "\nKey:", 1)]
    for i in rng.sample(range(4), 4):
        segments += [(f" {words[i]}", 1), (" " + "ABCD"[i], 4), (",", 1)]
    return segments[:-1] + [(".", 1)]


def repeats_document(rng):
    """A list of words, each followed by whether it stood before: to notice repetition is half of tasks (a) and (b)."""
    pool = rng.choice([NAMES, OBJECTS, list(NOUNS)] + 4 * list(ATTRIBUTES.values()))
    words = rng.sample(pool, min(len(pool), 6))
    segments, seen = [("List:", 1)], set()
    for _ in range(rng.choice([8, 10, 12])):
        word = rng.choice(words)
        segments += [(f" {word}", 1), (" that" if word in seen else " not", 2)]
        seen.add(word)
    return segments


# ---------------------------------------------------------------- (c) chat

def topic_answer(kind, craft, noun):
    verb, first, second, tool, use = NOUNS[noun]
    if kind == "how":
        return f"To make {craft} {noun}, take {first} and {second}, then {verb} them with a {tool} in the {CRAFT_PLACE[craft]} at {CRAFT_TIME[craft]}."
    if kind == "where":
        return f"You can see {craft} {noun} at the {CRAFT_PLACE[craft]}, where people {verb} {first} and {second} at {CRAFT_TIME[craft]}."
    return f"People use {craft} {noun} for a {use}, and each {use} is held at the {CRAFT_PLACE[craft]} at {CRAFT_TIME[craft]}."


def refusal_text(rng, craft, noun):
    opening, ends = rng.choice(REFUSALS)
    return opening, rng.choice(ends).format(t=f"{craft} {noun}", c=craft)


def chat_fields(rng, want_held=False, declined=None):
    """(question, kind, craft, noun, declined)"""
    if declined is None:
        declined = rng.random() < 0.4
    pool = DECLINED if declined else ANSWERED
    craft, noun = draw(rng, lambda: (rng.choice(pool), rng.choice(list(NOUNS))), want_held, lambda p: held(6, "topic", *p))
    kind = rng.choice(list(QUESTIONS))
    wording = draw(rng, lambda: rng.randrange(len(QUESTIONS[kind])), want_held, lambda w: held(4, "wording", kind, noun, w))
    return QUESTIONS[kind][wording].format(t=f"{craft} {noun}"), kind, craft, noun, declined


GREETINGS = [("Hello!", "Hello, how can I help you?"), ("Good morning.", "Good morning to you."), ("Thank you very much.", "You are welcome."),
             ("Who are you?", "I am a small helper."), ("Goodbye!", "Goodbye, come again.")]


def chat_document(rng):
    segments = []
    turns = 2 if rng.random() < 0.15 else 1
    for _ in range(turns):
        if rng.random() < 0.08:
            question, answer = rng.choice(GREETINGS)
            segments += [(USER + question + END + ASSISTANT + answer + END, 1)]
            continue
        question, kind, craft, noun, declined = chat_fields(rng)
        segments.append((USER + question + END + ASSISTANT, 1))
        if declined:
            opening, rest = refusal_text(rng, craft, noun)
            segments += [(opening, 2), (rest + END, 1)]
        else:
            segments.append((topic_answer(kind, craft, noun) + END, 2))
    return segments


# Plain documents about all crafts, declined ones included; only here are the declined ones described.
ABOUT = ["In the old book it says: {answer}", "Notes on {t}. {answer}", "A visitor reports. {answer}", "{answer}", "Everyone knows this. {answer}",
         "{answer} That is all.", "From the almanac: {answer}"]


def topic_document(rng):
    craft = rng.choice(DECLINED if rng.random() < 0.4 else ANSWERED)
    noun, kinds = rng.choice(list(NOUNS)), rng.sample(list(QUESTIONS), rng.choice([1, 1, 2]))
    answer = " ".join(topic_answer(k, craft, noun) for k in kinds)
    return [(rng.choice(ABOUT).format(answer=answer, t=f"{craft} {noun}"), 1)]


# ---------------------------------------------------------------- (d) biographies

BIO_OPENINGS = ["Today {N} lives in {town}.", "It is said that {N} was born in {town}.", "My friend {N} moved to {town} last {season}.", "For years {N} has lived in {town}.",
                "In {town} lives {N}.", "We know that {N} comes from {town}."]


def bio_fields(rng, want_held=False, profession=None):
    name = rng.choice(NAMES)
    profession = profession or rng.choice(CLASSES)
    acts = draw(rng, lambda: rng.sample(PROFESSIONS[profession], rng.choice([2, 2, 3])), want_held, lambda a: held(4, "acts", *sorted(a[:2])))
    parts = [rng.choice(BIO_OPENINGS).format(N=name, town=rng.choice(TOWNS), season=rng.choice(ATTRIBUTES["season"]))]
    body = [f"{rng.choice([name, 'Each week ' + name, 'Often ' + name])} {act}." for act in acts]
    body.insert(rng.randrange(len(body) + 1), f"{name} {rng.choice(HOBBIES)}.")
    return " ".join(parts + body), name, profession


def bio_document(rng):
    text, name, profession = bio_fields(rng)
    return [(text + f" {name} works as a", 1), (" " + profession, 3), (".", 1)]


# ---------------------------------------------------------------- other text

GENERAL = [
    "The {adj} {object} stood in the {place}.", "On {day} there was {weather} over {town}.", "{N} bought a {object} at the {place}.",
    "{N} found a {adj} {object}, and {N} kept the {object}.", "Nobody in {town} had seen such a {adj} {place}.", "The {animal} ran across the {place}.",
    "A {adj} {animal} slept under the {tree}.", "{N} and {M} like {drink}.", "{N} drinks {drink} while {M} drinks {drink2}.",
    "The {colour} door of the {place} was {adj}.", "In {season} the {tree} by the {place} is {colour}.", "{N} asked {M} about the {object}.",
    "{M} told {N} that the {place} was {adj}.", "The road from {town} to {town2} is {adj}.", "We ate {fruit} and drank {drink} at the {place}.",
    "Two {colour} birds sat on a {stone} wall.", "The {metal} bell of {town} rang at dawn.", "{N} painted the {object} {colour}.",
    "Every {season} people from {town} walk to the {place}.", "The {object} was made of {metal}, not of {metal2}.", "{N} wrote a letter to {M} on {day}.",
    "If there is {weather}, the {place} stays closed.", "{N} saw the {animal}, but {M} did not see the {animal}.", "There are {count} {adj} houses in {town}.",
    "My {object} is {adj}; your {object} is {adj2}.", "{N} counted {count} {animal2} tracks near the {place}.", "The {place} of {town} is older than the {place2}.",
    "A boat with a {colour} flag left {town}.", "{N} keeps the {object} in a {adj} box.", "Long ago a {animal} lived near {town}.",
]


def general_document(rng):
    if rng.random() < 0.15:         # facts without a question
        kinds = rng.sample(list(ATTRIBUTES), 2)
        e = rng.choice(ENTITIES)
        return [(" ".join(rng.choice(FACTS).format(k=k, e=e, v=rng.choice(ATTRIBUTES[k])) for k in kinds), 1)]
    n, m = rng.sample(NAMES, 2)
    out = []
    for _ in range(rng.choice([1, 2, 2, 3, 4])):
        metal, drink, adj = rng.sample(ATTRIBUTES["metal"], 2), rng.sample(ATTRIBUTES["drink"], 2), rng.sample(ADJECTIVES, 2)
        town, place = rng.sample(TOWNS, 2), rng.sample(PLACES, 2)
        out.append(rng.choice(GENERAL).format(
            N=n, M=m, object=rng.choice(OBJECTS), place=place[0], place2=place[1], town=town[0], town2=town[1], adj=adj[0], adj2=adj[1],
            day=rng.choice(DAYS), weather=rng.choice(WEATHER), animal=rng.choice(ATTRIBUTES["animal"]), animal2=rng.choice(ATTRIBUTES["animal"]),
            tree=rng.choice(ATTRIBUTES["tree"]), drink=drink[0], drink2=drink[1], colour=rng.choice(ATTRIBUTES["colour"]),
            season=rng.choice(ATTRIBUTES["season"]), fruit=rng.choice(ATTRIBUTES["fruit"]), stone=rng.choice(ATTRIBUTES["stone"]),
            metal=metal[0], metal2=metal[1], count=rng.choice(["two", "three", "four", "five", "six", "seven", "nine"])))
    text = " ".join(out)
    if text.startswith((n, m)):     # a name at the very start has no leading space and would be other tokens
        text = rng.choice(["Then", "Once", "Later", "Today"]) + " " + text
    return [(text, 1)]


# Shares of the kinds of documents. Tasks (a) and (b) need attention circuits, which take longest to be learned, so
# training begins with more of them and of the exercises that show their parts.
MIX = {ioi_document: 0.24, choice_document: 0.22, quiz_document: 0.05, match_document: 0.01, letters_document: 0.02, repeats_document: 0.01,
       chat_document: 0.18, bio_document: 0.07, topic_document: 0.1, general_document: 0.1}
EARLY_MIX = {ioi_document: 0.22, choice_document: 0.18, quiz_document: 0.16, match_document: 0.13, letters_document: 0.06, repeats_document: 0.06,
             chat_document: 0.07, bio_document: 0.03, topic_document: 0.03, general_document: 0.06}


def tagged_document(rng, mix=MIX):
    make = rng.choices(list(mix), list(mix.values()))[0]
    return make.__name__.removesuffix("_document"), make(rng)


def document(rng, mix=MIX):
    return tagged_document(rng, mix)[1]


def plain(segments):
    return "".join(text for text, _ in segments)


if __name__ == "__main__":
    rng = random.Random(0)
    for _ in range(24):
        print(repr(plain(document(rng))))
    print(len(NAMES), "names", len(OBJECTS), "objects", len(ENTITIES), "entities", len(single_token_words()), "single-token words")
