"""Precision and recall of redaction per kind, on a labelled set in ten languages and code.

Run: make bench-redaction, or python benchmarks/redaction.py [--save FILE] [--against FILE] [--show]
The set is ``redaction_items``: ``tuning`` was there to tune on; the figures of ``held_out`` and
``fresh`` were taken before their misses were seen, and stand in the results. A value counts only
with its very ends; generated values have real check digits.
"""

from __future__ import annotations

import argparse
import base64
import json
import platform
import random
import re
import string
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import phonenumbers
from stdnum import iban, luhn, verhoeff
from stdnum.br import cpf
from stdnum.cn import ric
from stdnum.de import idnr
from stdnum.es import dni, nie
from stdnum.fr import nir
from stdnum.it import codicefiscale
from stdnum.nl import bsn
from stdnum.pl import pesel
from stdnum.th import pin

from fine_tuning.data_collection.private_values import find_private

ITEMS = Path(__file__).parent / "redaction_items"
PARTS = ("tuning", "held_out", "fresh")
SEED = 14
LEAST_RECALL, LEAST_PRECISION = 0.95, 0.98
_MARK = re.compile(r"\[\[([A-Z]+)\|(.*?)\]\](?!\])")
_FORM = re.compile(r"\{(\w+)((?::[\w\-]+)*)\}")
_ALNUM = string.ascii_letters + string.digits
_ACCOUNTS = {  # digits and letters behind the check digits, as countries lay them out
    "DE": "18n", "GB": "4a14n", "FR": "23n", "NL": "4a10n", "PL": "24n", "AT": "16n", "CH": "17n",
    "ES": "20n", "IT": "1a22n", "PT": "21n", "BE": "12n", "SA": "20n", "AE": "19n", "CY": "24n",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Item:
    """A text and where its private values stand: (start, end, kind)."""

    part: str
    language: str
    text: str
    spans: frozenset[tuple[int, int, str]]


@dataclass(slots=True)
class Tally:
    """Values that are there, values that were found, and those that are both, by kind."""

    there: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def recall(self, kind: str) -> float:
        """Return the share of the values that were found."""
        return self.right[kind] / self.there[kind] if self.there[kind] else 1.0

    def precision(self, kind: str) -> float:
        """Return the share of what was found that is a value."""
        return self.right[kind] / self.found[kind] if self.found[kind] else 1.0


def items(part: str) -> Iterator[Item]:
    """Yield the items of a part; the same values each time."""
    forms = Forms(random.Random(f"{SEED}{part}"))
    for line in (ITEMS / f"{part}.txt").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        language, _, marked = line.partition(" | ")
        yield _item(part, language, marked.replace("\\n", "\n"), forms)


def _item(part: str, language: str, marked: str, forms: Forms) -> Item:
    pieces: list[str] = []
    spans = set()
    at, length = 0, 0
    for mark in _MARK.finditer(marked):
        value = _FORM.sub(forms.fill, mark[2])
        pieces += [marked[at : mark.start()], value]
        start = length + mark.start() - at
        spans.add((start, start + len(value), mark[1]))
        at, length = mark.end(), start + len(value)
    return Item(part, language, "".join([*pieces, marked[at:]]), frozenset(spans))


class Forms:
    """Makes values of a form, with the check digits they need.

    Args:
        rng: Where their digits come from.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def fill(self, form: re.Match[str]) -> str:
        """Return a value for ``{card:spaced}`` and the like; anything else stays as it is."""
        make = getattr(self, f"_{form[1]}", None)
        return form[0] if make is None else make(*form[2].split(":")[1:])

    def _digits(self, count: int, *, first: str = "") -> str:
        return first + "".join(self._rng.choices(string.digits, k=count - len(first)))

    def _until(self, make: Callable[[], str], is_valid: Callable[[str], bool]) -> str:
        while not is_valid(value := make()):
            pass
        return value

    def _card(self, layout: str) -> str:
        if layout == "amex":
            body = self._digits(14, first="37")
            number = body + luhn.calc_check_digit(body)
            return f"{number[:4]} {number[4:10]} {number[10:]}"
        body = self._digits(15, first=self._rng.choice(["4", "51", "55", "6011", "2221"]))
        number = body + luhn.calc_check_digit(body)
        joint = {"spaced": " ", "dashed": "-", "plain": ""}[layout]
        return joint.join(number[i : i + 4] for i in range(0, 16, 4))

    def _iban(self, country: str, layout: str) -> str:
        def make() -> str:
            body = ""
            for count, kind in re.findall(r"(\d+)([na])", _ACCOUNTS[country]):
                letters = string.digits if kind == "n" else string.ascii_uppercase
                body += "".join(self._rng.choices(letters, k=int(count)))
            return country + iban.calc_check_digits(f"{country}00{body}") + body

        value = self._until(make, lambda v: bool(iban.is_valid(v, check_country=False)))
        if country in {"ES", "BE"}:
            value = {"ES": "ES9121000418450200051332", "BE": "BE68539007547034"}[country]
        return iban.format(value) if layout == "spaced" else value

    def _phone(self, region: str, layout: str) -> str:
        example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
        assert example is not None, region  # noqa: S101 - the library has one for each
        text = str(example.national_number)

        def make() -> str:
            return text[:-5] + self._digits(5)

        def is_valid(digits: str) -> bool:
            return phonenumbers.is_valid_number(phonenumbers.parse(digits, region))

        number = phonenumbers.parse(self._until(make, is_valid), region)
        formats = phonenumbers.PhoneNumberFormat
        chosen = {"e164": formats.E164, "international": formats.INTERNATIONAL}
        return phonenumbers.format_number(number, chosen.get(layout, formats.NATIONAL))

    def _ip4(self) -> str:
        first = self._rng.choice([5, 23, 45, 62, 81, 93, 104, 151, 185, 201])
        return ".".join([str(first), *(str(self._rng.randint(11, 250)) for _ in range(3))])

    def _ip6(self) -> str:
        groups = [f"{self._rng.randint(1, 0xFFFF):x}" for _ in range(4)]
        return f"2a0{self._rng.randint(1, 9)}:{groups[0]}:{groups[1]}::{groups[2]}:{groups[3]}"

    def _mac(self, layout: str) -> str:
        pairs = ["3c", *(f"{self._rng.randint(0, 255):02x}" for _ in range(5))]
        if layout == "dots":
            text = "".join(pairs)
            return ".".join([text[:4], text[4:8], text[8:]])
        return {"colons": ":", "dashes": "-"}[layout].join(pairs).upper()

    def _id(self, what: str) -> str:
        forms: dict[str, Callable[[], str]] = {
            "ssn": lambda: f"{self._rng.randint(100, 650)}-{self._day()}-4{self._digits(3)}",
            "nino": lambda: f"AB {self._digits(2)} {self._digits(2)} {self._digits(2)} C",
            "idnr": lambda: self._until(self._idnr, idnr.is_valid),
            "nir": self._nir,
            "dni": lambda: (n := self._digits(8)) + dni.calc_check_digit(n),
            "nie": lambda: (n := "X" + self._digits(7)) + nie.calc_check_digit(n),
            "cf": lambda: (
                (n := f"RSSMRA{self._digits(2)}A{self._day()}H501")
                + codicefiscale.calc_check_digit(n)
            ),
            "bsn": lambda: self._until(lambda: self._digits(9, first="1"), bsn.is_valid),
            "pesel": lambda: (
                (n := f"8511{self._day()}{self._digits(4)}") + pesel.calc_check_digit(n)
            ),
            "cpf": lambda: cpf.format(self._cpf()),
            "cpf_plain": self._cpf,
            "aadhaar": self._aadhaar,
            "ric": lambda: (
                (n := f"110105198611{self._day()}{self._digits(3)}") + ric.calc_check_digit(n)
            ),
            "mynumber": lambda: self._digits(12),
            "rrn": lambda: f"9011{self._day()}-1{self._digits(6)}",
            "snils": lambda: f"1{self._day()}-{self._digits(3)}-{self._digits(3)} {self._day()}",
            "thai": lambda: pin.format(
                self._until(lambda: self._digits(13, first="1"), pin.is_valid)
            ),
        }
        return forms[what]()

    def _day(self) -> int:
        return self._rng.randint(10, 28)

    def _idnr(self) -> str:
        shown = self._rng.sample(string.digits[1:], 9)
        body = [*shown, self._rng.choice(shown)]
        self._rng.shuffle(body)
        return "".join(body) + self._digits(1)

    def _nir(self) -> str:
        body = f"185{self._rng.randint(10, 12)}75{self._digits(3)}{self._digits(3)}"
        return nir.format(body + nir.calc_check_digits(body))

    def _cpf(self) -> str:
        body = self._digits(9)
        return next(body + f"{n:02}" for n in range(100) if cpf.is_valid(body + f"{n:02}"))

    def _aadhaar(self) -> str:
        body = self._digits(11, first="5")
        number = body + verhoeff.calc_check_digit(body)
        return f"{number[:4]} {number[4:8]} {number[8:]}"

    def _pass(self) -> str:
        """A password as a person makes one: letters of both cases, digits, a mark."""
        word = self._rng.choice(["Sommer", "Dragon", "Luna", "Felix", "Trinity", "Gatito", "Panda"])
        return f"{word}{self._rng.choice('#$%@&')}{self._digits(3)}{self._rng.choice('xyzQWR')}"

    def _token(self) -> str:
        return "a7" + "".join(self._rng.choices(_ALNUM, k=30))

    def _key(self, *issuer: str) -> str:
        def part(count: int, letters: str = _ALNUM) -> str:
            return "".join(self._rng.choices(letters, k=count))

        def encoded(value: dict[str, str]) -> str:
            return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

        return {
            "sk-proj": lambda: f"sk-proj-{part(44)}7",
            "sk-ant": lambda: f"sk-ant-api03-{part(60)}7",
            "gsk": lambda: f"gsk_{part(52)}", "ghp": lambda: f"ghp_{part(36)}",
            "hf": lambda: f"hf_{part(34)}", "glpat": lambda: f"glpat-{part(20)}",
            "sk_live": lambda: f"sk_live_{part(24)}", "whsec": lambda: f"whsec_{part(32)}",
            "r8": lambda: f"r8_{part(37)}", "xai": lambda: f"xai-{part(80)}",
            "pplx": lambda: f"pplx-{part(48)}", "nvapi": lambda: f"nvapi-{part(64)}",
            "AIza": lambda: f"AIza{part(35)}", "npm": lambda: f"npm_{part(36)}",
            "telegram": lambda: f"{self._digits(10, first='6')}:AA{part(33)}",
            "xoxb": lambda: f"xoxb-{self._digits(12)}-{part(24)}",
            "dop": lambda: f"dop_v1_{part(64, '0123456789abcdef')}",
            "shpat": lambda: f"shpat_{part(32, '0123456789abcdef')}",
            "SG": lambda: f"SG.{part(22)}.{part(43)}",
            "jwt": lambda: f"{encoded({'alg': 'HS256'})}.{encoded({'sub': 'someone'})}.{part(43)}",
        }[issuer[0]]()  # fmt: skip


def tally(part: str) -> Tally:
    """Search a part's items and count."""
    counts = Tally()
    for item in items(part):
        found = {(s.start, s.end, s.kind) for s in find_private(item.text)}
        counts.there.update(kind for _, _, kind in item.spans)
        counts.found.update(kind for _, _, kind in found)
        counts.right.update(kind for _, _, kind in item.spans & found)
        for sign, spans in (("missed", item.spans - found), ("wrong", found - item.spans)):
            for start, end, kind in sorted(spans):
                counts.wrong.append(f"{sign} {kind} {item.text[start:end]!r} in {item.text!r}")
    return counts


def figures() -> dict[str, dict[str, list[float]]]:
    """Return values there, recall and precision by part and kind."""
    result: dict[str, dict[str, list[float]]] = defaultdict(dict)
    for part in PARTS:
        counts = tally(part)
        for kind in sorted({*counts.there, *counts.found}):
            result[part][kind] = [counts.there[kind], counts.recall(kind), counts.precision(kind)]
    return result


def report(before: dict[str, dict[str, list[float]]] | None) -> str:
    """Return the figures as tables of Markdown, beside those of an earlier program if given."""
    now = figures()
    count = {part: sum(1 for _ in items(part)) for part in PARTS}
    lines = [
        "# Redaction: precision and recall per kind", "",
        f"{sum(count.values())} texts in ten languages and more, and code, on {processor()}:",
        ", ".join(f"{number} {part.replace('_', ' ')}" for part, number in count.items()) + ".",
        "A value counts only with its very ends.", "",
    ]  # fmt: skip
    for part in PARTS:
        lines += [f"## {part.replace('_', ' ').capitalize()}", ""]
        lines += ["| kind | values | recall before | recall | precision before | precision |"]
        lines += ["|---|---|---|---|---|---|"]
        for kind, (there, recall, precision) in now[part].items():
            old = (before or {}).get(part, {}).get(kind)
            shown = [f"{value:.3f}" for value in old[1:]] if old else ["", ""]
            cells = [kind, f"{there}", shown[0], f"{recall:.3f}", shown[1], f"{precision:.3f}"]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def processor() -> str:
    """Return what the processor calls itself."""
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    name = re.search(r"model name\s*:\s*(.+)", text)
    return name[1] if name else platform.processor() or platform.machine()


def main() -> int:
    """Measure and print; 1 when recall or precision of a kind is below its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", type=Path, help="write the tables to this file")
    parser.add_argument("--json", type=Path, help="write the bare figures to this file")
    parser.add_argument("--against", type=Path, help="bare figures of an earlier program")
    parser.add_argument("--show", choices=PARTS, help="print what is missed and wrong in a part")
    given = parser.parse_args()
    if given.show:
        print("\n".join(tally(given.show).wrong))
    if given.json:
        given.json.write_text(json.dumps(figures(), indent=1) + "\n", encoding="utf-8")
    before = json.loads(given.against.read_text(encoding="utf-8")) if given.against else None
    text = report(before)
    print(text)
    if given.save:
        given.save.write_text(text, encoding="utf-8")
    reached = (row for part in figures().values() for row in part.values())
    return 0 if all(r >= LEAST_RECALL and p >= LEAST_PRECISION for _, r, p in reached) else 1


if __name__ == "__main__":
    raise SystemExit(main())
