"""One exchange as each program's export would hold it, in its present shape."""

# ruff: noqa: E501 - records stand on lines of their own, as in the files

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

Chat = list[tuple[str, str]]
"""Questions and replies, alternating; a role is "user" or "assistant"."""


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records), "utf-8")
    return path


def openai(folder: Path, chats: list[Chat]) -> Path:
    return write(
        folder / "openai.jsonl",
        *({"messages": [{"role": r, "content": t} for r, t in chat]} for chat in chats),
    )


def sharegpt(folder: Path, chats: list[Chat]) -> Path:
    names = {"user": "human", "assistant": "gpt"}
    return write(
        folder / "sharegpt.jsonl",
        *({"conversations": [{"from": names[r], "value": t} for r, t in chat]} for chat in chats),
    )


def alpaca(folder: Path, chats: list[Chat]) -> Path:
    return write(
        folder / "alpaca.jsonl",
        *({"instruction": chat[0][1], "input": "", "output": chat[1][1]} for chat in chats),
    )


def own_log(folder: Path, chats: list[Chat]) -> Path:
    return write(
        folder / "log.jsonl",
        *(
            {"user_message": chat[0][1], "bot_response": chat[1][1], "session_id": f"s{n}",
             "timestamp": f"2025-05-01T10:{n:02}:00+00:00", "metadata": {}}
            for n, chat in enumerate(chats)
        ),
    )  # fmt: skip


def csv_table(folder: Path, chats: list[Chat]) -> Path:
    rows = [
        ",".join(f'"{text.replace(chr(34), chr(34) * 2)}"' for _, text in chat[:2])
        for chat in chats
    ]
    path = folder / "table.csv"
    path.write_text("\n".join(["question,answer", *rows, ""]), "utf-8")
    return path


def claude(folder: Path, chats: list[Chat]) -> Path:
    names = {"user": "human", "assistant": "assistant"}
    return write(
        folder / "claude.json",
        [
            {"uuid": f"c{n}", "name": "x", "chat_messages": [
                {"uuid": f"c{n}m{place}", "sender": names[r], "text": t, "attachments": [], "files": [],
                 "content": [{"type": "text", "text": t}]} for place, (r, t) in enumerate(chat)]}
            for n, chat in enumerate(chats)
        ],
    )  # fmt: skip


def chatgpt(folder: Path, chats: list[Chat]) -> Path:
    found = []
    for n, chat in enumerate(chats):
        mapping: dict[str, Any] = {"root": {"id": "root", "parent": None, "message": None}}
        parent = "root"
        for place, (role, text) in enumerate(chat):
            key = f"c{n}m{place}"
            mapping[key] = {"id": key, "parent": parent, "message": {
                "id": key, "author": {"role": role}, "recipient": "all", "weight": 1.0,
                "content": {"content_type": "text", "parts": [text]}, "metadata": {},
                "status": "finished_successfully", "end_turn": True}}  # fmt: skip
            parent = key
        found.append({"title": "x", "conversation_id": f"c{n}", "mapping": mapping,
                      "current_node": parent})  # fmt: skip
    return write(folder / "chatgpt.json", found)


def open_webui(folder: Path, chats: list[Chat]) -> Path:
    found = []
    for n, chat in enumerate(chats):
        messages: dict[str, Any] = {}
        parent = None
        for place, (role, text) in enumerate(chat):
            key = f"c{n}m{place}"
            messages[key] = {
                "id": key,
                "parentId": parent,
                "role": role,
                "content": text,
                "done": True,
            }
            parent = key
        history = {"messages": messages, "currentId": parent}
        found.append({"id": f"c{n}", "title": "x", "chat": {"history": history}})
    return write(folder / "webui.json", found)


def librechat(folder: Path, chats: list[Chat]) -> Path:
    return write(
        folder / "librechat.json",
        [
            {"conversationId": f"c{n}", "messages": [
                {"messageId": f"c{n}m{place}", "isCreatedByUser": r == "user", "text": t,
                 "parentMessageId": f"c{n}m{place - 1}" if place else "0"}
                for place, (r, t) in enumerate(chat)]}
            for n, chat in enumerate(chats)
        ],
    )  # fmt: skip


def silly_tavern(folder: Path, chats: list[Chat]) -> Path:
    said = [turn for chat in chats for turn in chat]
    return write(
        folder / "tavern.jsonl",
        {"user_name": "Ann", "character_name": "Bot", "create_date": "2024-05-01@10h00m05s"},
        *(
            {"name": "Ann" if r == "user" else "Bot", "is_user": r == "user", "mes": t}
            for r, t in said
        ),
    )


def anything_llm(folder: Path, chats: list[Chat]) -> Path:
    return write(
        folder / "anything.json",
        [
            {"workspace": "w", "id": n, "prompt": chat[0][1], "response": chat[1][1],
             "sent_at": "2025-05-01", "rating": None}
            for n, chat in enumerate(chats)
        ],
    )  # fmt: skip


def preference(folder: Path, chats: list[Chat]) -> Path:
    return write(
        folder / "pairs.jsonl",
        *({"prompt": c[0][1], "chosen": c[1][1], "rejected": "I do not know that."} for c in chats),
    )


def llm_logs(folder: Path, chats: list[Chat]) -> Path:
    path = folder / "logs.db"
    connection = apsw.Connection(str(path))
    connection.execute(
        "CREATE TABLE responses (id TEXT, model TEXT, prompt TEXT, system TEXT, response TEXT,"
        " conversation_id TEXT, datetime_utc TEXT)"
    )
    for n, chat in enumerate(chats):
        values = (f"r{n}", "m", chat[0][1], None, chat[1][1], f"c{n}", "2024-05-01T10:00:00")
        connection.execute("INSERT INTO responses VALUES (?, ?, ?, ?, ?, ?, ?)", values)
    connection.close()
    return path


PROGRAMS: dict[str, Callable[[Path, list[Chat]], Path]] = {
    writer.__name__: writer
    for writer in (
        openai, sharegpt, alpaca, own_log, csv_table, claude, chatgpt, open_webui, librechat,
        silly_tavern, anything_llm, preference, llm_logs,
    )
}  # fmt: skip
