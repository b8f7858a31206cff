"""Measure cleaning on 100,000 conversations of real text with planted copies and private values.

Run: make bench-data, or python -m benchmarks.data [--count N] [--million] [--save]
     python -m benchmarks.data --count 10000 --against CHECKOUT   (speed beside another checkout)
Needs chitchat-dataset and perl-doc; see ``real_text``. Seconds are processor seconds of one
thread; memory is the peak of a process that reads a JSON Lines file and cleans it as a stream.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from benchmarks.planting import corpus
from benchmarks.real_text import chitchat_conversations
from fine_tuning.core.conversation import Conversation
from fine_tuning.data_collection.cleaning_counts import CleaningCounts
from fine_tuning.data_collection.data_cleaner import DataCleaner, Dropped, LeftOut
from fine_tuning.data_collection.moderation import toxicity_classifiers
from fine_tuning.data_collection.near_duplicates import MIN_SHINGLES, WORDS_PER_SHINGLE
from fine_tuning.data_collection.private_values import KINDS, find_private

COUNT, MILLION = 100_000, 1_000_000
LEAST_PER_CPU_S, MOST_MEMORY_MB, MOST_MILLION_MB = 1_500, 1_500, 2_500
LEAST_RECALL, LEAST_REDACTED, MOST_FALSE_PER_1000 = 0.85, 0.98, 1.0
ROUNDS = 3
SAME_KINDS = ("respaced", "wrapped")  # a copy with other words is another lesson
RESULTS = Path(__file__).parent / "results"
_DUPLICATE = {"duplicate", "near_duplicate"}


def main() -> int:
    """Measure, print and judge; 1 when a promise is broken."""
    given = _arguments()
    if given.clean is not None:
        print(json.dumps(clean_file(given.clean)))
        return 0
    count = MILLION if given.million else given.count
    if given.against is not None:
        return compare(count, given.against)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corpus.jsonl"
        _write(path, count)
        found = _in_a_process(path)
    found["false_positives"] = false_positives()
    found["promises"] = promises(found)
    found["setting"] = _setting()
    print(json.dumps(found, indent=2))
    if given.save:
        RESULTS.mkdir(exist_ok=True)
        name = f"data-{count}-{datetime.now(UTC):%Y-%m-%d}.json"
        (RESULTS / name).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0 if all(promise["holds"] for promise in found["promises"]) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--million", action="store_true", help="one million conversations")
    parser.add_argument("--save", action="store_true", help="write the figures beside this file")
    parser.add_argument("--against", type=Path, help="another checkout, cleaned with in turns")
    parser.add_argument("--clean", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _write(path: Path, count: int) -> None:
    with path.open("wb") as file:
        for conversation in corpus(count):
            file.write(orjson.dumps(conversation.to_dict()) + b"\n")


def _read(path: Path) -> Iterator[Conversation]:
    with path.open("rb") as file:
        for line in file:
            yield Conversation.from_dict(orjson.loads(line))


def compare(count: int, other: Path) -> int:
    """Clean with this checkout and another in turns; 1 if this one is the slower."""
    roots = {"this": Path(__file__).parents[1], "other": other.resolve()}
    speeds: dict[str, list[int]] = {name: [] for name in roots}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corpus.jsonl"
        _write(path, count)
        for _ in range(ROUNDS):
            for name, root in roots.items():
                speeds[name].append(_in_a_process(path, root)["conversations_per_cpu_s"])
    best = {name: max(some) for name, some in speeds.items()}
    print(json.dumps({"conversations": count, "conversations_per_cpu_s": speeds, "best": best}))
    return int(best["this"] < best["other"])


def _in_a_process(path: Path, root: Path | None = None) -> dict[str, Any]:
    """Clean in a process of its own, so that its peak memory is its own."""
    command = [sys.executable, "-m", "benchmarks.data", "--clean", str(path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    if root is not None:
        environment["PYTHONPATH"] = os.pathsep.join((str(root), os.environ.get("PYTHONPATH", "")))
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=environment, cwd=root
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def clean_file(path: Path) -> dict[str, Any]:
    """Clean a corpus and account for speed, memory and what was planted."""
    start_s = time.process_time()
    num_chars = sum(len(m.text) for c in _read(path) for m in c.messages)
    read_s = time.process_time() - start_s
    tally = _Tally()
    start_s = time.process_time()
    run = DataCleaner().stream(_read(path), path.parent, tally.leave_out)
    for outcome in run:
        tally.add(outcome)
    whole_s = time.process_time() - start_s - tally.cpu_s
    work_s = whole_s - read_s
    counts = run.counts
    steps = [
        {
            "step": step["name"],
            "seen": step["seen"],
            "changed": step["changed"],
            "dropped": step["dropped"],
            "conversations_per_cpu_s": round(step["seen"] / max(step["cpu_s"], 1e-9)),
        }
        for step in counts["steps"]
    ]
    return {
        "conversations": counts["in"],
        "kept": counts["kept"],
        "dropped": counts["dropped"],
        "exchanges": counts["exchanges"],
        "nothing_disappears": _adds_up(counts),
        "chars_per_conversation": round(num_chars / counts["in"]),
        "conversations_per_cpu_s": round(counts["in"] / work_s),
        "conversations_per_cpu_s_with_reading": round(counts["in"] / whole_s),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "steps": steps,
        **tally.result(),
    }


def _adds_up(counts: CleaningCounts) -> bool:
    exchanges = counts["exchanges"]
    return counts["in"] == counts["kept"] + sum(counts["dropped"].values()) and exchanges[
        "in"
    ] == exchanges["kept"] + sum(exchanges["left_out"].values())


def _long_enough(conversation: Conversation) -> set[int]:
    """Return the places of the exchanges that have enough words to be compared."""
    said = [len(re.findall(r"\w+", message.text)) for message in conversation.messages]
    return {
        place
        for place, words in enumerate(map(sum, zip(said[::2], said[1::2], strict=False)))
        if words >= MIN_SHINGLES + WORDS_PER_SHINGLE - 1
    }


class _Tally:
    """What became of planted copies and values; its own seconds are not cleaning's."""

    def __init__(self) -> None:
        self.cpu_s = 0.0
        self.copies: dict[str, tuple[str, str]] = {}
        self.compared: dict[str, set[int]] = {}
        self.repeated: dict[str, set[int]] = {}
        self.others: set[str] = set()
        self.planted: Counter[str] = Counter()
        self.redacted: Counter[str] = Counter()
        self.missed: list[list[str]] = []

    def add(self, outcome: Conversation | Dropped) -> None:
        start_s = time.process_time()
        is_dropped = isinstance(outcome, Dropped)
        conversation = outcome.conversation if isinstance(outcome, Dropped) else outcome
        self.compared[conversation.id] = _long_enough(conversation)
        notes = conversation.metadata
        if "base" in notes:
            self.copies[conversation.id] = (notes["base"], notes["kind"])
        for kind, value in () if is_dropped else notes.get("planted", ()):
            said = [message.text for message in conversation.messages]
            names = [name for text in said for name in re.findall(r"<([A-Z]+)_\d+>", text)]
            is_gone = kind in names and not any(value[:-1] in text for text in said)
            self.planted[kind] += 1
            self.redacted[kind] += is_gone
            if not is_gone and len(self.missed) < 20:
                self.missed.append([kind, value, *[t for t in said if value[:6] in t][:1]])
        self.cpu_s += time.process_time() - start_s

    def leave_out(self, exchange: LeftOut) -> None:
        """Note an exchange that is not trained on."""
        start_s = time.process_time()
        name = exchange.conversation_id
        if exchange.reason in _DUPLICATE:
            place = int(exchange.message_id.rpartition("/")[2]) // 2
            self.repeated.setdefault(name, set()).add(place)
        else:
            self.others.add(name)
        self.cpu_s += time.process_time() - start_s

    def result(self) -> dict[str, Any]:
        """Return recall of exchanges that are trained on once, and recall of redaction."""
        planted: Counter[str] = Counter()
        found: Counter[str] = Counter()
        for copy, (base, kind) in self.copies.items():
            if kind in SAME_KINDS and not self.others & {copy, base}:
                wanted = self.compared[copy] & self.compared[base]
                repeated = self.repeated.get(copy, set()) | self.repeated.get(base, set())
                planted[kind] += len(wanted)
                found[kind] += len(wanted & repeated)
        return {
            "near_duplicates": {
                "planted": sum(planted.values()),
                "recall": round(sum(found.values()) / max(1, sum(planted.values())), 4),
                "recall_by_kind": {k: round(found[k] / max(1, planted[k]), 4) for k in SAME_KINDS},
            },
            "redaction": {
                "planted": dict(self.planted),
                "recall": {k: round(self.redacted[k] / max(1, self.planted[k]), 4) for k in KINDS},
                "missed": self.missed,
            },
        }


def false_positives() -> dict[str, Any]:
    """Return what is found in chitchat, whose chats hold next to nothing private.

    Everything found counts as false, so the rates are upper bounds; examples tell the truth.
    """
    messages = [m.text for chat in chitchat_conversations() for m in chat.messages]
    found = [
        [span.kind, text[span.start : span.end]] for text in messages for span in find_private(text)
    ]
    private = {
        "messages": len(messages),
        "found": dict(Counter(kind for kind, _ in found)),
        "per_1000_messages": round(1000 * len(found) / len(messages), 3),
        "values": found[:60],
    }
    moderation: dict[str, Any] = {}
    for name in ("words", "profanex", "toxicity"):
        start_s = time.process_time()
        (classifier,) = toxicity_classifiers([name])
        flagged = [text for text in classifier.classify(messages) if text is not None]
        moderation[name] = {
            "flagged_per_1000_messages": round(1000 * len(flagged) / len(messages), 3),
            "messages_per_cpu_s": round(len(messages) / (time.process_time() - start_s)),
            "examples": flagged[:: max(1, len(flagged) // 12)][:12],
        }
    return {"private": private, "moderation": moderation}


def promises(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what was promised, what was found, and whether it holds."""
    most_mb = MOST_MILLION_MB if found["conversations"] >= MILLION else MOST_MEMORY_MB
    near, redaction = found["near_duplicates"], found["redaction"]["recall"]
    false = found["false_positives"]["private"]["per_1000_messages"]
    rows = [
        ("conversations per CPU second", found["conversations_per_cpu_s"], ">=", LEAST_PER_CPU_S),
        ("peak memory, MB", found["peak_memory_mb"], "<=", most_mb),
        ("near-duplicate recall", near["recall"], ">=", LEAST_RECALL),
        ("redaction recall, worst class", min(redaction.values()), ">=", LEAST_REDACTED),
        ("found per 1,000 clean messages", false, "<=", MOST_FALSE_PER_1000),
        ("in - kept - dropped", 0 if found["nothing_disappears"] else 1, "<=", 0),
    ]
    return [
        {
            "promise": f"{name} {sign} {bound}",
            "found": value,
            "holds": value >= bound if sign == ">=" else value <= bound,
        }
        for name, value, sign, bound in rows
    ]


def _setting() -> dict[str, str]:
    packages = ("google-re2", "phonenumbers", "rensa", "ftfy", "python-stdnum")
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "python": platform.python_version(),
        "processor": _processor(),
        **{name: version(name) for name in packages},
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    found = re.search(r"model name\s*:\s*(.+)", info.read_text(encoding="utf-8"))
    return found[1] if found else platform.processor()


if __name__ == "__main__":
    sys.exit(main())
