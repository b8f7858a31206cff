"""A corpus of real text with known flaws: copies of conversations, and private values in them.

Exchanges of chitchat-dataset and paragraphs of Perl's FAQ are recombined, so that base
conversations share little; then copies are planted in four kinds, and values of seven kinds made by
the rules of their issuers. Everything follows from a seed; who planted what stands in the metadata.
"""

from __future__ import annotations

import base64
import json
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

import phonenumbers
from stdnum import luhn
from stdnum.iso7064 import mod_97_10

from benchmarks.real_text import chitchat_conversations, perl_faq_pairs
from fine_tuning.core.conversation import Conversation, Part
from fine_tuning.data_collection.text_filters import loop, swear_word

COPY_SHARE, PRIVATE_SHARE = 0.2, 0.1
COPY_KINDS = ("respaced", "wrapped", "2 % edited", "5 % edited")
MIN_WORDS, MAX_EXCHANGE_CHARS = 4, 900
_LETTERS_DIGITS = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Material:
    """Real text to recombine: exchanges of small talk, FAQ questions, FAQ paragraphs."""

    exchanges: Sequence[tuple[str, str]]
    questions: Sequence[str]
    paragraphs: Sequence[str]
    words: Sequence[str]


def material() -> Material:
    """Read the real text; what cleaning would drop as it stands (oaths, loops) is left out."""
    exchanges: list[tuple[str, str]] = []
    for chat in chitchat_conversations():
        for asked, reply in zip(chat.messages[::2], chat.messages[1::2], strict=False):
            pair = (_flat(asked.text), _flat(reply.text))
            if _is_usable(*pair):
                exchanges.append(pair)
    questions, paragraphs = [], []
    for page in perl_faq_pairs():
        questions.append(page.messages[0].text)
        blocks = page.messages[1].text.split("\n\n")
        paragraphs += [
            _flat(block) for block in blocks if not block[:1].isspace() and _is_usable(block)
        ]
    words = sorted(
        {word for pair in exchanges[:3000] for word in pair[1].split() if word.isalpha()}
    )
    return Material(sorted(set(exchanges)), questions, sorted(set(paragraphs)), words)


def _flat(text: str) -> str:
    return " ".join(text.split())


def _is_usable(*texts: str) -> bool:
    is_long = all(len(text.split()) >= MIN_WORDS for text in texts)
    is_short = sum(map(len, texts)) <= MAX_EXCHANGE_CHARS
    return is_long and is_short and not any(swear_word(t) or loop(t) or "@" in t for t in texts)


def corpus(count: int, seed: int = 0, *, given: Material | None = None) -> Iterator[Conversation]:
    """Yield conversations: bases, some with private values, and copies some way behind their base.

    ``metadata`` says ``kind`` (one of :data:`COPY_KINDS`) and ``base`` of a copy, and ``planted``,
    a list of [class, value].
    """
    random = Random(seed)
    text = given or material()
    recent: list[Conversation] = []
    for number in range(count):
        if recent and random.random() < COPY_SHARE:
            base = recent.pop(random.randrange(len(recent)))
            yield _copy(base, number, text, random)
            continue
        made = _base(number, text, random)
        if random.random() < PRIVATE_SHARE:
            made = _with_private(made, random)
        elif len(recent) < 500:
            recent.append(made)
        yield made


def _base(number: int, text: Material, random: Random) -> Conversation:
    turns: list[tuple[str, str]] = []
    if random.random() < 0.3:
        answer = "\n\n".join(random.sample(text.paragraphs, 2))
        turns += [("user", random.choice(text.questions)), ("assistant", answer[:800])]
    for asked, reply in random.sample(text.exchanges, random.randint(2, 4)):
        turns += [("user", asked), ("assistant", reply)]
    return Conversation.from_turns(turns, id=f"{number:07d}", created_at=f"2026-01-01T{number:07d}")


def _copy(base: Conversation, number: int, text: Material, random: Random) -> Conversation:
    kind = random.choice(COPY_KINDS)
    if kind == "respaced":
        change = lambda said: said.lower().replace(" ", "  ").replace(".", " .")  # noqa: E731
    elif kind == "wrapped":
        greeting, parting = random.choice(_GREETINGS), random.choice(_PARTINGS)
        change = lambda said: f"{greeting} {said} {parting}"  # noqa: E731
    else:
        share = 0.02 if kind == "2 % edited" else 0.05
        change = lambda said: said  # noqa: E731
        base = _edited(base, share, text, random)
    first = base.messages[1].id if kind == "wrapped" else None
    messages = tuple(
        m
        if first is not None and m.id != first
        else replace(m, content=(Part(text=change(m.text)),))
        for m in base.messages
    )
    notes = {"kind": kind, "base": base.id}
    return replace(base, id=f"{number:07d}", messages=messages, metadata=notes)


def _edited(base: Conversation, share: float, text: Material, random: Random) -> Conversation:
    """Replace a share of all words, at least one, by words of the corpus."""
    said = [message.text.split(" ") for message in base.messages]
    places = [
        (i, j) for i, words in enumerate(said) for j, word in enumerate(words) if word.isalpha()
    ]
    for i, j in random.sample(places, max(1, round(share * sum(map(len, said))))):
        said[i][j] = random.choice(text.words)
    messages = tuple(
        replace(message, content=(Part(text=" ".join(words)),))
        for message, words in zip(base.messages, said, strict=True)
    )
    return replace(base, messages=messages)


_GREETINGS = ("Great question!", "Sure, happy to help.", "Of course!", "Thanks for asking.")
_PARTINGS = ("Let me know if you need more.", "I hope this helps!", "Anything else?")
_SAYINGS: dict[str, tuple[str, ...]] = {
    "URL": ("see {}", "it is at {}.", "({})"),
    "EMAIL": ("write to {}", "my address is {}, thanks", "<{}>"),
    "PHONE": ("call me at {}", "my number is {}.", "{} is my phone"),
    "CARD": ("my card is {}", "charge {} please", "card number: {}."),
    "IBAN": ("my IBAN is {}", "transfer it to {} please", "IBAN: {}, thanks"),
    "IP": ("the server is {}", "it came from {}.", "ssh into {} please"),
    "SECRET": ("the key is {}", "use {} for now", "here it is: {}"),
}


def _with_private(base: Conversation, random: Random) -> Conversation:
    kind = random.choice(list(_SAYINGS))
    shown = private_value(kind, random)
    value = shown.removeprefix("password: ").removeprefix("api_key=")
    message = random.choice(base.messages)
    said = random.choice(_SAYINGS[kind]).format(shown)
    text = f"{message.text} {said}" if random.random() < 0.5 else f"{said} {message.text}"
    messages = tuple(
        replace(m, content=(Part(text=text),)) if m is message else m for m in base.messages
    )
    return replace(base, messages=messages, metadata={"planted": [[kind, value]]})


def private_value(kind: str, random: Random) -> str:
    """Return a value of a kind, made as its issuer makes it; passwords with a word before them."""
    makers = {
        "URL": _url,
        "EMAIL": _email,
        "PHONE": _phone,
        "CARD": _card,
        "IBAN": _iban,
        "IP": _ip,
        "SECRET": _secret,
    }
    return makers[kind](random)


def _word(random: Random, low: int = 4, high: int = 9) -> str:
    return "".join(random.choices(string.ascii_lowercase, k=random.randint(low, high)))


def _some(random: Random, alphabet: str, count: int) -> str:
    return "".join(random.choices(alphabet, k=count))


def _url(random: Random) -> str:
    site = f"{_word(random)}.{random.choice(['com', 'org', 'de', 'io', 'co.uk'])}"
    path = random.choice(
        ["", "/", f"/{_word(random)}", f"/{_word(random)}?id={random.randint(1, 999)}"]
    )
    return random.choice(["https://", "http://", "https://www.", "www."]) + site + path


def _email(random: Random) -> str:
    name = random.choice(["{0}.{1}", "{0}_{1}", "{0}+{1}", "{0}"]).format(
        _word(random), _word(random)
    )
    return f"{name}@{_word(random)}.{random.choice(['com', 'net', 'org.uk', 'example', 'de'])}"


def _phone(random: Random) -> str:
    """Return a number of the default regions in a way people write it."""
    region = random.choice(["US", "GB", "DE"])
    like = phonenumbers.example_number_for_type(region, random.choice([0, 1]))
    while True:
        digits = str(like.national_number)
        changed = int(digits[:-4] + _some(random, string.digits, 4))
        number = phonenumbers.PhoneNumber(country_code=like.country_code, national_number=changed)
        if phonenumbers.is_valid_number(number):
            form = random.choice([0, 1, 2])  # E164, international, national
            return phonenumbers.format_number(number, form)


def _card(random: Random) -> str:
    start, length = random.choice([("4", 16), ("51", 16), ("55", 16), ("37", 15), ("6011", 16)])
    body = start + _some(random, string.digits, length - len(start) - 1)
    whole = body + luhn.calc_check_digit(body)
    groups = [whole[i : i + 4] for i in range(0, length, 4)]
    return random.choice(["", " ", "-"]).join(groups)


def _iban(random: Random) -> str:
    country, bank, account = random.choice(
        [("DE", "37040044", 10), ("GB", "NWBK601613", 8), ("NL", "ABNA", 10), ("AT", "19043", 11)]
    )
    for _ in range(1000):
        body = bank + _some(random, string.digits, account)
        check = mod_97_10.calc_check_digits(f"{body}{country}")
        whole = f"{country}{check}{body}"
        if _is_iban(whole):
            groups = [whole[i : i + 4] for i in range(0, len(whole), 4)]
            return random.choice(["", " "]).join(groups)
    raise AssertionError(country)


def _is_iban(value: str) -> bool:
    from stdnum import iban

    return iban.is_valid(value)


def _ip(random: Random) -> str:
    if random.random() < 0.3:
        return "2a01:4f8:" + ":".join(f"{random.randint(1, 0xFFFF):x}" for _ in range(6))
    return f"{random.randint(80, 99)}." + ".".join(str(random.randint(10, 250)) for _ in range(3))


def _secret(random: Random) -> str:
    def token(count: int) -> str:
        return _some(random, _LETTERS_DIGITS, count)

    header = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "typ": "JWT"}).encode()).decode()
    claims = base64.urlsafe_b64encode(json.dumps({"sub": token(8)}).encode()).decode()
    key = base64.b64encode(random.randbytes(120)).decode()
    return random.choice(
        [
            "AKIA" + _some(random, string.ascii_uppercase + "234567", 16),
            "ghp_" + token(36),
            "github_pat_" + token(22),
            "glpat-" + token(20),
            "sk-" + token(48),
            "sk-proj-" + token(48),
            "sk-ant-api03-" + token(60),
            "sk_live_" + token(24),
            f"xoxb-{random.randint(10**11, 10**12)}-{token(24)}",
            "AIza" + token(35),
            "npm_" + token(36),
            "hf_" + token(34),
            f"{header.rstrip('=')}.{claims.rstrip('=')}.{token(43)}",
            f"-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----",
            f"postgres://{_word(random)}:{token(12)}@db.{_word(random)}.com:5432/{_word(random)}",
            f"password: {token(6)}{random.choice('!$%&*#')}{random.randint(1, 99)}",
            f"api_key={token(32)}",
        ]
    )
