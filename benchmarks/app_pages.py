"""How long each page of the app takes to run its script, with 10,000 conversations recorded.

    python -m benchmarks.app_pages [--conversations 10000] [--home FOLDER] [--store jsonl|db]

Without ``--home`` a workspace is filled with the sample conversations, told apart by a number, with
thumbs and edits on some, and cleaned once. Each page runs in Streamlit's own test runner, as one
browser session: first as the first page of a new process sees it (cold), then with a turn logged
before each run (another page was chatted on), then as it is (warm). Milliseconds of wall clock,
medians; what the browser draws comes on top.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import fine_tuning
from fine_tuning.config.loader import load_settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.conversation import Conversation
from fine_tuning.core.feedback import Feedback
from fine_tuning.data_collection.importing import read_conversations
from fine_tuning.workbench.workbench import Workbench

SAMPLES = Path(fine_tuning.__file__).parent / "data" / "samples"
FILES = ("messy", "general", "handbook")
PACKAGE = "fine_tuning.integration.app"
PAGES = ("chat", "conversations", "train", "evaluate", "models", "doctor")
PARTS = ("Browse", "Overview", "Training data", "Review", "Import", "Export")
BUDGET_MS = 300
REPEATS = 7
BATCH = 500
START = datetime(2026, 1, 1, tzinfo=UTC)


def numbered(conversation: Conversation, number: int) -> Conversation:
    """Return a conversation of its own id and time, whose questions name a number."""
    at = (START + timedelta(minutes=30 * number)).isoformat()
    messages = tuple(
        replace(m.with_text(f"{m.text} ({number})") if m.role == "user" else m, created_at=at)
        for m in conversation.messages
    )
    return replace(conversation, id=f"c{number}", messages=messages, created_at=at, source_ref="")


def judgement(conversation: Conversation, rng: random.Random) -> Feedback | None:
    """Return what somebody may have said about a reply, on a quarter of the conversations."""
    replies = [message for message in conversation.messages if message.role == "assistant"]
    if not replies or rng.random() > 0.25:
        return None
    about = {"conversation_id": conversation.id, "message_id": replies[-1].id}
    if rng.random() < 0.2:
        text = f"Better: {replies[-1].text}"
        return Feedback(id=f"f-{conversation.id}", kind="correction", text=text, **about)
    value = 1 if rng.random() < 0.7 else -1
    return Feedback(id=f"f-{conversation.id}", kind="thumb", value=value, **about)


def fill(home: Path, number: int) -> Workbench:
    """Record conversations in a workspace, and clean them once."""
    settings = load_settings(None, environment=dict(os.environ))
    bench = Workbench(settings, Workspace.open(home, settings))
    given = [
        c for name in FILES for c in read_conversations(SAMPLES / f"{name}_conversations.jsonl")
    ]
    rng = random.Random(1)
    for start in range(0, number, BATCH):
        batch = [
            numbered(given[n % len(given)], n) for n in range(start, min(start + BATCH, number))
        ]
        bench.context.store.append_many(
            batch, list(filter(None, (judgement(c, rng) for c in batch)))
        )
    return bench


def timed_ms(work: Callable[[], object]) -> float:
    """Return how long something takes, in milliseconds."""
    start_s = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start_s)


def measure(name: str, part: str, log_a_turn: Callable[[], object]) -> dict[str, float]:
    """Run a page in one session; return its cold, changed and warm milliseconds."""
    from streamlit.components.v2 import manifest_scanner
    from streamlit.testing.v1 import AppTest

    # The test runner looks for components of other packages at each run, the server once.
    manifest_scanner.scan_component_manifests = list  # type: ignore[assignment]

    def script(module: str) -> None:
        from importlib import import_module

        from fine_tuning.integration.app.common import told

        with told():
            import_module(f"fine_tuning.integration.app.{module}").show()

    app = AppTest.from_function(script, default_timeout=600, kwargs={"module": name})
    if part:
        app.session_state["conv-part"] = part
    found = {"cold": timed_ms(app.run)}
    if app.exception or app.error:
        sys.exit(f"{name} {part}: {[one.value for one in (*app.exception, *app.error)]}")
    changed = []
    for _ in range(3):
        log_a_turn()
        changed.append(timed_ms(app.run))
    app.run()
    found["changed"] = statistics.median(changed)
    found["warm"] = statistics.median(timed_ms(app.run) for _ in range(REPEATS))
    return found


def main() -> None:
    """Fill a workspace if need be, measure every page, print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--conversations", type=int, default=10_000)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--store", choices=("jsonl", "db"), default="jsonl")
    given = parser.parse_args()
    logging.disable(logging.WARNING)  # Streamlit's remarks about running without a browser
    with tempfile.TemporaryDirectory() as folder:
        home = given.home or Path(folder)
        os.environ["FINE_TUNING_HOME"] = str(home)
        os.environ["FINE_TUNING__DATA_COLLECTION__LOG_FILE"] = f"conversations.{given.store}"
        os.environ.setdefault("FINE_TUNING__TRAINING__BASE_MODEL", "embedded")
        if given.home is None:
            fill(home, given.conversations)
        settings = load_settings(None, environment=dict(os.environ))
        bench = Workbench(settings, Workspace.open(home, settings))
        log = bench.context.workspace.conversations
        print(f"{bench.context.store.count():,} conversations in {log.name}")
        print(f"listing, first time: {timed_ms(bench.data.index.listing) / 1000:.1f} s")
        print(f"cleaning all: {timed_ms(bench.data.review.sort_out) / 1000:.1f} s")
        turns = itertools.count()
        report(
            lambda: bench.data.logger().log_conversation(f"Turn {next(turns)}?", "It is a turn.")
        )


def report(log_a_turn: Callable[[], object]) -> None:
    """Measure every page that is there, and say which are over the budget."""
    results: dict[str, dict[str, float]] = {}
    print(f"{'page':34}{'cold':>8}{'changed':>9}{'warm':>8}   ms")
    for name in PAGES:
        if find_spec(f"{PACKAGE}.{name}") is None:
            continue
        for part in PARTS if name == "conversations" else ("",):
            title = f"{name}, {part}" if part else name
            found = results[title] = measure(name, part, log_a_turn)
            print(f"{title:34}{found['cold']:8.0f}{found['changed']:9.0f}{found['warm']:8.0f}")
    over = [title for title, found in results.items() if found["warm"] > BUDGET_MS]
    print(json.dumps({"budget_ms": BUDGET_MS, "over_budget": over}))


if __name__ == "__main__":
    main()
