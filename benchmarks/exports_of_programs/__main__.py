"""Measure which share of the finished replies in ten programs' exports reaches training.

Run: make bench-exports, or
    python -m benchmarks.exports_of_programs [--count N] [--before FOLDER] [--save FILE]
``--before`` is a checkout of an earlier state, which is measured on the same files. The exports are
made: 100 chats each in ten languages, with tools, pictures, thoughts, edits, replies generated
again, several models, continued replies, two questions in a row, notes of the system in between.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.exports_of_programs import lines, trees
from benchmarks.exports_of_programs.chats import Chat, chats

SEED, LEAST_SHARE = 14, 0.95
MEASURE = Path(__file__).parent / "measure.py"
CHATGPT_MARKS = r"[\ue200-\ue206]|citeturn|【\d"
THOUGHT_MARKS = r"</?think|</?details|<summary|:::|&(?:quot|gt|lt);"
Write = Callable[[Path, list[Chat]], None]


def _array(make: Callable[[Chat], Any]) -> Write:
    return lambda path, given: _dump(path, [make(chat) for chat in given])


def _dump(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def _json_lines(records: list[Any]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def _archive(member: str, make: Callable[[Chat], str]) -> Write:
    """Return what writes an archive with a file per chat."""

    def write(path: Path, given: list[Chat]) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for chat in given:
                archive.writestr(member.format(chat.number), make(chat))

    return write


def _gemini(path: Path, given: list[Chat]) -> None:
    _dump(path, [entry for chat in reversed(given) for entry in lines.gemini(chat)])


def _openai(path: Path, given: list[Chat]) -> None:
    path.write_text(_json_lines([lines.openai(chat) for chat in given]), encoding="utf-8")


def _own_log(path: Path, given: list[Chat]) -> None:
    path.write_text(_json_lines([t for c in given for t in lines.own_log(c)]), encoding="utf-8")


def _grok(path: Path, given: list[Chat]) -> None:
    _dump(path, {"conversations": [trees.grok(chat) for chat in given], "projects": []})


def _telegram(path: Path, given: list[Chat]) -> None:
    _dump(path, {"about": "", "chats": {"list": [lines.telegram(chat) for chat in given]}})


PROGRAMS: dict[str, tuple[str, Write, str]] = {
    "ChatGPT": ("chatgpt.json", _array(trees.chatgpt), CHATGPT_MARKS),
    "Claude": ("claude.json", _array(trees.claude), r"not supported on your|antArtifact"),
    "Open WebUI": ("open-webui.json", _array(trees.open_webui), THOUGHT_MARKS),
    "LibreChat": (
        "librechat.json", _array(trees.librechat), THOUGHT_MARKS + r"|\\ue202|turn0search",
    ),
    "llama.cpp web UI": ("llama-cpp.json", _array(trees.llama_cpp), THOUGHT_MARKS),
    "LM Studio": (
        "lm-studio.zip",
        _archive("{}.conversation.json", lambda chat: json.dumps(lines.lm_studio(chat))),
        THOUGHT_MARKS + "|toolCall",
    ),
    "DeepSeek": ("deepseek.json", _array(trees.deepseek), r"\[citation:|</?think"),
    "SillyTavern": (
        "silly-tavern.zip",
        _archive("{}.jsonl", lambda chat: _json_lines(lines.silly_tavern(chat))),
        THOUGHT_MARKS + r"|\{\{",
    ),
    "Gemini (Takeout)": ("gemini.json", _gemini, r"</?(?:p|ul|li|pre|code)\b|&(?:quot|gt|lt);"),
    "OpenAI messages": ("openai.jsonl", _openai, THOUGHT_MARKS),
    "own log": ("own-log.jsonl", _own_log, THOUGHT_MARKS),
    "Grok": ("grok.json", _grok, "<grok:|<argument"),
    "Jan": (
        "jan.zip",
        _archive("threads/{}/messages.jsonl", lambda chat: _json_lines(lines.jan(chat))),
        THOUGHT_MARKS,
    ),
    "Telegram": ("telegram.json", _telegram, "text_entities"),
}  # fmt: skip
"""File, what writes it, and what must not be found in a text that is trained on."""
WITHOUT_STATUS = {"Gemini (Takeout)", "Telegram"}
"""Programs whose exports do not tell a stopped reply from a whole one."""


def main() -> int:
    """Measure and print; 1 when a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="chats of each program")
    parser.add_argument("--before", type=Path, help="an earlier checkout to compare with")
    parser.add_argument("--only", help="one program")
    parser.add_argument("--save", type=Path, help="a file for the table")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        truths = write(folder, given.count, given.only)
        rows = []
        for program, truth in truths.items():
            before = _measured(truth, given.before) if given.before else {}
            rows.append((program, before, _measured(truth, None)))
            sys.stdout.write(_row(*rows[-1]) + "\n")
            sys.stdout.flush()
    table = _table(rows, given.count)
    sys.stdout.write(table)
    if given.save is not None:
        given.save.write_text(table, encoding="utf-8")
    is_kept = all(
        "error" not in now
        and now["reached"] >= LEAST_SHARE * now["replies"]
        and not now["unnamed"]
        and not now["marks"]
        for _, _, now in rows
    )
    return 0 if is_kept else 1


def write(folder: Path, count: int, only: str | None = None) -> dict[str, Path]:
    """Write the export of each program, and a file that says which replies are in it."""
    truths = {}
    for index, (program, (name, make, marks)) in enumerate(PROGRAMS.items()):
        if only not in {None, program}:
            continue
        made = chats(count, SEED + index)
        make(folder / name, made)
        replies = [
            {
                "names": exchange.reply.names,
                "has_picture": exchange.has_picture or exchange.reply.has_picture,
            }
            for chat in made
            for exchange in chat.exchanges
            if exchange.reply.is_finished or program in WITHOUT_STATUS
        ]
        truths[program] = folder / f"{name}.truth"
        truth = {"file": str(folder / name), "replies": replies, "marks": marks}
        _dump(truths[program], {**truth, "assistant": "Helper"})
    return truths


def _measured(truth: Path, before: Path | None) -> dict[str, Any]:
    """Measure in a process of its own, with this state of the program or an earlier one."""
    root = before or Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, str(MEASURE), str(truth)],
        env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1][:100] if done.stderr else "?"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _row(program: str, before: dict[str, Any], now: dict[str, Any]) -> str:
    reasons = now.get("reasons", {})
    named = ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "none"
    return (
        f"| {program} | {now.get('replies', 0)} | {_share(before)} | {_share(now)} | {named} | "
        f"{before.get('marks', '')} | {now.get('marks', '')} |"
    )


def _share(found: dict[str, Any]) -> str:
    if not found:
        return ""
    if "error" in found:
        return "not read"
    share = f"{100 * found['reached'] / found['replies']:.1f} %"
    return f"{share} ({found['cut']} cut)" if found["cut"] else share


def _table(rows: list[tuple[str, dict[str, Any], dict[str, Any]]], count: int) -> str:
    head = (
        "# Replies of other programs' exports that reach training\n\n"
        f"{datetime.now(UTC):%Y-%m-%d}, {_processor()}, {count} chats of each program, default "
        "settings, embedded base model, max_length 2048. A reply that is longer than that is "
        "trained on up to there, which is told as cut. Marks are targets that hold markup of the "
        "program.\n\n"
        "| Program | Finished replies | Before | Now | Lost now | Marks before | Marks now |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(_row(*row) for row in rows) + "\n"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return found[1] if found else platform.processor()


if __name__ == "__main__":
    raise SystemExit(main())
