"""Precision and recall of the filters on labelled items in ten and more languages and code.

    python -m benchmarks.filters [--save FILE] [--misses]

``filter_items`` holds a file for each filter: label, language and text, tab-separated; a pair of
near duplicates has two texts. ``[[a|b]]`` stands for one text with a and one with b, and ``{x}``
for the words of the last column, in step for both texts of a pair. Every third line is held out:
the filters were not tuned on it. ``before.json`` holds the numbers of the filters before, made by
running this file with the old package on the path (``--record``).
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from fine_tuning.data_collection.near_duplicates import NearDuplicates
from fine_tuning.data_collection.text_filters import refusal, swear_word

ITEMS = Path(__file__).parent / "filter_items"
BEFORE = ITEMS / "before.json"
FILTERS = ("refusals", "profanity", "near_duplicates")
HELD_OUT_EVERY = 3
PARTS = ("all", "tuned on", "held out")
LANGUAGES = (
    "en",
    "code",
    "de",
    "fr",
    "es",
    "it",
    "pt",
    "nl",
    "pl",
    "ru",
    "tr",
    "zh",
    "ja",
    "ko",
    "ar",
    "hi",
)
_CHOICE = re.compile(r"\[\[(.*?)\]\]")


@dataclass(frozen=True, slots=True)
class Item:
    """A labelled text, or two: whether the filter should find it, and whether it was held out."""

    texts: tuple[str, ...]
    is_positive: bool
    language: str
    is_held_out: bool
    line: int


@dataclass(slots=True)
class Score:
    """Counts of right and wrong answers, and what they come to."""

    hits: int = 0
    misses: int = 0
    false: int = 0
    silent: int = 0

    def add(self, *, is_positive: bool, is_found: bool) -> None:
        """Count one answer."""
        if is_positive:
            self.hits += is_found
            self.misses += not is_found
        else:
            self.false += is_found
            self.silent += not is_found

    @property
    def items(self) -> int:
        """How many items were tried."""
        return self.hits + self.misses + self.false + self.silent

    @property
    def precision(self) -> float:
        """The share of what was found that should be; 1 if nothing was."""
        found = self.hits + self.false
        return self.hits / found if found else 1.0

    @property
    def recall(self) -> float:
        """The share of what should be found that was; 1 if nothing should."""
        wanted = self.hits + self.misses
        return self.hits / wanted if wanted else 1.0


def items(name: str) -> Iterator[Item]:
    """Yield the items of a filter in order, slots filled."""
    lines = (ITEMS / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        label, language, *columns = line.split("\t")
        for texts in _filled(columns):
            is_held_out = number % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
            yield Item(texts, label == "1", language, is_held_out, number + 1)


def _filled(columns: list[str]) -> Iterator[tuple[str, ...]]:
    columns = [column.replace("\\n", "\n") for column in columns]
    if len(columns) == 1:
        (text,) = columns
        parts = _CHOICE.split(text)
        choices = [part.split("|") if n % 2 else [part] for n, part in enumerate(parts)]
        yield from (("".join(chosen),) for chosen in product(*choices))
        return
    *texts, slots = columns
    words = {slot[0]: slot[2:].split("|") for slot in slots.split(";")}
    for index in range(max(map(len, words.values()))):
        values = {name: some[index % len(some)] for name, some in words.items()}
        yield tuple(_with(text, values) for text in texts)


def _with(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def answers(name: str) -> Callable[..., bool]:
    """Return what answers for an item of a filter; near duplicates by triples in old versions."""
    if name == "refusals":
        return lambda text: refusal(text) is not None
    if name == "profanity":
        return lambda text: swear_word(text) is not None
    try:
        from fine_tuning.data_collection.same_substance import is_same_in_substance
    except ImportError:
        return _share_triples
    return is_same_in_substance


def _share_triples(first: str, second: str) -> bool:
    near = NearDuplicates(0.7)
    texts = (first, second)
    for number, text in enumerate(texts):
        near.add(number, text)
    return bool(near.find(lambda number: texts[number]).clusters)


def scores(name: str, *, part: int = 1) -> tuple[dict[str, Score], list[Item]]:
    """Return the scores of a filter by part and language, and the items it got wrong.

    Args:
        name: One of :data:`FILTERS`.
        part: Every how many items one is tried.
    """
    answer = answers(name)
    found: dict[str, Score] = {}
    wrong: list[Item] = []
    for item in list(items(name))[::part]:
        is_found = answer(*item.texts)
        if is_found != item.is_positive:
            wrong.append(item)
        for row in ("all", "held out" if item.is_held_out else "tuned on", item.language):
            found.setdefault(row, Score()).add(is_positive=item.is_positive, is_found=is_found)
    return found, wrong


def main() -> int:
    """Print the table; write it, or the numbers for later comparison, where asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--save", type=Path, help="a Markdown file to write the table to")
    parser.add_argument("--record", type=Path, help="a JSON file to write the numbers to")
    parser.add_argument(
        "--misses", action="store_true", help="print what was tuned on and is wrong"
    )
    args = parser.parse_args()
    before = json.loads(BEFORE.read_text(encoding="utf-8")) if BEFORE.exists() else {}
    recorded: dict[str, dict[str, list[float]]] = {}
    lines = [
        "# Filters on labelled items",
        "",
        f"Processor: {_processor()}; Python {platform.python_version()}",
    ]
    for name in FILTERS:
        start_s = time.process_time()
        found, wrong = scores(name)
        spent_s = time.process_time() - start_s
        recorded[name] = {row: [s.precision, s.recall] for row, s in found.items()}
        each_us = 1e6 * spent_s / found["all"].items
        lines += [
            "",
            f"## {name.replace('_', ' ').capitalize()}",
            "",
            f"{each_us:.0f} microseconds an item.",
            "",
        ]
        lines += _table(found, before.get(name, {}))
        if args.misses:
            lines += [f"{i.line} {i.is_positive} {i.texts}" for i in wrong if not i.is_held_out]
    text = "\n".join(lines) + "\n"
    print(text)
    if args.save:
        args.save.write_text(text, encoding="utf-8")
    if args.record:
        args.record.write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")
    return 0


def _table(found: dict[str, Score], before: dict[str, list[float]]) -> Iterator[str]:
    yield "| items | count | precision before | recall before | precision | recall |"
    yield "|---|---|---|---|---|---|"
    others = sorted(set(found) - {*PARTS, *LANGUAGES})
    for row in (*PARTS, *LANGUAGES, *others):
        if row in found:
            score = found[row]
            old = [f"{value:.3f}" for value in before.get(row, [])] or ["", ""]
            new = [f"{score.precision:.3f}", f"{score.recall:.3f}"]
            yield f"| {' | '.join([row, str(score.items), *old, *new])} |"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    name = re.search(r"model name\s*:\s*(.+)", info.read_text(encoding="utf-8"))
    return name[1] if name else platform.processor()


if __name__ == "__main__":
    sys.exit(main())
