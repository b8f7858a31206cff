"""Import an export, clean, tokenise, and tell which of its replies are trained on.

Needs nothing of this folder, so that an earlier state of the program is measured alike:
    PYTHONPATH=CHECKOUT python measure.py FILE.truth
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.errors import FineTuningError
from fine_tuning.workbench.base_models import BaseModels
from fine_tuning.workbench.workbench import Workbench

NOT_TEXT = "a message holds more than text"


def main() -> None:
    """Print what was found as a line of JSON."""
    truth = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings()
        bench = Workbench(settings, Workspace.open(Path(folder) / "home", settings))
        problems = _imported(bench, Path(truth["file"]), truth["assistant"], Path(folder))
        print(json.dumps({**_found(bench, truth), "problems": problems}))


def _imported(bench: Workbench, file: Path, assistant: str, folder: Path) -> list[str]:
    """Import a file, or what is in it where archives are not read."""
    problems: list[str] = []
    files = [file]
    try:
        _import(bench, file, assistant)
    except FineTuningError as error:
        if not zipfile.is_zipfile(file):
            return [error.message]
        with zipfile.ZipFile(file) as archive:
            archive.extractall(folder / "members")  # our own
        files = sorted(path for path in (folder / "members").rglob("*") if path.is_file())
        for path in files:
            try:
                _import(bench, path, assistant)
            except FineTuningError as one:
                problems.append(one.message)
    return problems[:3]


def _import(bench: Workbench, file: Path, assistant: str) -> None:
    try:
        bench.data.importer.import_file(file, None, assistant)  # type: ignore[call-arg]
    except TypeError:  # before it was asked who the assistant is
        bench.data.importer.import_file(file)


def _found(bench: Workbench, truth: dict[str, Any]) -> dict[str, Any]:
    replies = truth["replies"]
    recorded = _texts(bench)
    try:
        targets, left_out, lost = _trained_on(bench)
    except FineTuningError as error:
        return {
            "replies": len(replies), "reached": 0, "cut": 0, "unnamed": 0, "marks": 0, "shown": [],
            "reasons": {error.message[:90]: len(replies)},
        }  # fmt: skip
    joined = "\n".join(targets)
    reasons: Counter[str] = Counter()
    shown: list[str] = []
    num_cut = 0
    for reply in replies:
        missing = [name for name in reply["names"] if name not in joined]
        if missing and missing == reply["names"][1:]:
            num_cut += 1
        elif missing:
            reason = _reason(missing, reply, recorded, left_out, lost)
            reasons[reason] += 1
            shown.append(f"{reason}: {reply['names']}")
    marked = [target for target in targets if re.search(truth["marks"], target)]
    return {
        "replies": len(replies), "reached": len(replies) - reasons.total(), "cut": num_cut,
        "reasons": dict(reasons), "unnamed": reasons["no reason named"], "marks": len(marked),
        "shown": shown[:8], "marked": marked[:3],
    }  # fmt: skip


def _texts(bench: Workbench) -> str:
    """Return the assistant's texts on the branches in use, as recorded."""
    return "\n".join(
        message.text
        for conversation in bench.context.store.conversations()
        for message in conversation.path()
        if message.role == "assistant"
    )


def _trained_on(bench: Workbench) -> tuple[list[str], dict[str, str], dict[str, int]]:
    """Return the texts trained on, the reason of each text left out, and what is cut."""
    bases = BaseModels(bench.context.settings)
    base = bases.find("embedded")
    snapshot = bench.data.prepare(base)
    left_out: dict[str, str] = {}
    report = bench.data.clean()
    for one in getattr(report, "left_out", ()):
        left_out[one.message_id] = one.reason
    for dropped in report.dropped:
        for message in dropped.conversation.messages:
            left_out.setdefault(message.id, dropped.reason)
    by_text = {
        message.text: left_out[message.id]
        for conversation in bench.context.store.conversations()
        for message in conversation.messages
        if message.id in left_out
    }
    targets: list[str] = []
    with bases.open(base) as server:
        for split in ("train", "validation", "test"):
            for example in snapshot.split(split).examples:
                runs = _runs(example.ids, example.mask)
                targets += [server.tokenizer.decode(run) for run in runs]
    return targets, by_text, dict(snapshot.manifest["lost_replies"])


def _runs(ids: tuple[int, ...], mask: tuple[int, ...]) -> list[list[int]]:
    found: list[list[int]] = []
    is_in = False
    for token, is_target in zip(ids, mask, strict=True):
        if is_target and not is_in:
            found.append([])
        if is_target:
            found[-1].append(token)
        is_in = bool(is_target)
    return found


def _reason(
    missing: list[str],
    reply: dict[str, Any],
    recorded: str,
    left_out: dict[str, str],
    lost: dict[str, int],
) -> str:
    if any(name not in recorded for name in missing):
        return "not imported"
    for text, reason in left_out.items():
        if any(name in text for name in reply["names"]):
            return reason
    if reply["has_picture"] and NOT_TEXT in lost:
        return NOT_TEXT
    others = ", ".join(reason for reason in lost if reason != NOT_TEXT)
    return f"tokenising: {others}" if others else "no reason named"


if __name__ == "__main__":
    main()
