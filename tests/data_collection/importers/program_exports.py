"""Exports of the programs that were added later, one small file per known variant.

The shapes follow those programs' own writers; the words are made up.
"""

# ruff: noqa: E501 - records stand on lines of their own, as in the files

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def lines(*records: Any) -> bytes:
    return b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)


def array(*records: Any) -> bytes:
    return json.dumps(list(records), indent=2, ensure_ascii=False).encode()


def content(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data) and None


def archive(members: dict[str, bytes]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, data in members.items():
                file.writestr(name, data)

    return write


# llama.cpp


def llama(key: str, parent: str | None, role: str, text: str, **fields: Any) -> dict[str, Any]:
    return {"convId": "k", "id": key, "parent": parent, "role": role, "content": text, "type": "text",
            "timestamp": 1755000000000, "children": [], "toolCalls": "", **fields}  # fmt: skip


LLAMA_MESSAGES = [
    llama("r", None, "system", "", type="root"),
    llama("s", "r", "system", "Be brief."),
    llama("u1", "s", "user", "A colour?", extra=[
        {"type": "IMAGE", "name": "x.png", "base64Url": "data:image/png;base64,iVBO"},
        {"type": "TEXT", "name": "list.txt", "content": "red, blue"}]),
    llama("a1", "u1", "assistant", "Seven.", model="m.gguf"),
    llama("a2", "u1", "assistant", "<think>A colour.</think>Red."),
    llama("u2", "a2", "user", "The time?"),
    llama("c", "u2", "assistant", "", toolCalls='[{"id": "t", "type": "function", "function": {"name": "clock", "arguments": "{}"}}]'),
    llama("t", "c", "tool", "ten", toolCallId="t"),
    llama("a3", "t", "assistant", "Ten.", reasoningContent="The clock says so."),
]  # fmt: skip
LLAMA_CONV = {"id": "k", "name": "Colours", "lastModified": 1755000001000, "currNode": "a3"}
LLAMA = {"conv": LLAMA_CONV, "messages": LLAMA_MESSAGES}

# DeepSeek


def deepseek(key: str, parent: str | None, children: list[str], *fragments: Any) -> dict[str, Any]:
    message = {"files": [], "model": "deepseek-chat", "inserted_at": f"2026-01-02T10:00:0{key[-1]}.000000+08:00",
               "fragments": [{"type": kind, "content": said} for kind, said in fragments]}  # fmt: skip
    return {
        "id": key,
        "parent": parent,
        "children": children,
        "message": message if fragments else None,
    }


DEEPSEEK = {
    "id": "d-1", "title": "Colours", "inserted_at": "2026-01-02T10:00:00.000000+08:00", "updated_at": "2026-01-02T10:01:00.000000+08:00",
    "mapping": {
        "root": deepseek("root", None, ["1"]),
        "1": deepseek("1", "root", ["2", "3"], ("REQUEST", "Name a colour.")),
        "2": deepseek("2", "1", [], ("THINK", "Numbers."), ("RESPONSE", "Seven.")),
        "3": deepseek("3", "1", ["4"], ("THINK", "Colours."), ("RESPONSE", "Red.")),
        "4": deepseek("4", "3", ["5"], ("REQUEST", "Why?")),
        "5": deepseek("5", "4", [], ("RESPONSE", "It is one.")),
    },
}  # fmt: skip
DEEPSEEK["mapping"]["5"]["message"]["fragments"].insert(
    0, {"type": "SEARCH", "results": [{"url": "https://x.example", "title": "x"}]}
)
DEEPSEEK_OLD = {"id": "d-2", "title": "Old", "mapping": {
    "root": {"id": "root", "parent": None, "children": ["1"], "message": None},
    "1": {"id": "1", "parent": "root", "children": ["2"], "message": {"model": "deepseek-chat", "content": "Hi", "reasoning_content": None}},
    "2": {"id": "2", "parent": "1", "children": [], "message": {"model": "deepseek-reasoner", "content": "Hello.", "reasoning_content": "Greet."}},
}}  # fmt: skip

# LM Studio


def studio_text(*texts: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text} for text in texts]


def studio_block(content_: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    return {"type": "contentBlock", "stepIdentifier": "1", "content": content_,
            "defaultShouldIncludeInContext": True, "shouldIncludeInContext": True, **fields}  # fmt: skip


def studio_user(*texts: str) -> dict[str, Any]:
    return {"versions": [{"type": "singleStep", "role": "user", "content": studio_text(text)} for text in texts],
            "currentlySelected": len(texts) - 1}  # fmt: skip


def studio_reply(*versions: list[dict[str, Any]], selected: int = 0) -> dict[str, Any]:
    return {"versions": [{"type": "multiStep", "role": "assistant", "senderInfo": {"senderName": "qwen"}, "steps": steps}
                         for steps in versions], "currentlySelected": selected}  # fmt: skip


LM_STUDIO = {
    "name": "Colours", "pinned": False, "createdAt": 1735000000000, "preset": "", "tokenCount": 9, "systemPrompt": "Be brief.",
    "messages": [
        studio_user("A colour?"),
        studio_reply([studio_block(studio_text("Seven."))],
                     [studio_block(studio_text("A colour, then."), style={"type": "thinking", "ended": True}, prefix="<think>", suffix="</think>"),
                      studio_block(studio_text("Re", "d."), genInfo={"indexedModelIdentifier": "qwen3", "stats": {"stopReason": "eosFound"}}),
                      {"type": "debugInfoBlock", "debugInfo": "x"}], selected=1),
        studio_user("The time?"),
        studio_reply([studio_block([{"type": "toolCallRequest", "callId": 1, "name": "clock", "parameters": {"zone": "UTC"}}]),
                      {"type": "toolStatus", "callId": 1, "statusState": {"status": {"type": "toolCallSucceeded"}}},
                      studio_block([{"type": "toolCallResult", "callId": 1, "content": '"ten"'}]),
                      studio_block(studio_text("Ten."))]),
    ],
}  # fmt: skip

# Jan

JAN_THREAD = {"id": "j-1", "object": "thread", "title": "Colours", "created": 1735000000, "updated": 1735000001, "metadata": {},
              "assistants": [{"assistant_id": "jan", "assistant_name": "Jan", "instructions": "Be brief.", "model": {"id": "qwen", "settings": {}}}]}  # fmt: skip


def jan(key: str, role: str, text: str, **fields: Any) -> dict[str, Any]:
    return {"id": key, "object": "thread.message", "thread_id": "j-1", "role": role, "status": "ready", "created_at": 1735000000000,
            "completed_at": 1735000001000, "metadata": {}, "content": [{"type": "text", "text": {"value": text, "annotations": []}}], **fields}  # fmt: skip


JAN = [
    jan("1", "user", "A colour?"),
    jan("2", "assistant", "<think>One.</think>Red.", metadata={"assistant": {"model": "qwen"}}),
    jan("3", "user", "The time?"),
    jan("4", "assistant", "Ten.", metadata={"tool_calls": [
        {"tool": {"id": "t", "type": "function", "function": {"name": "clock", "arguments": "{}"}}, "state": "ready",
         "response": {"error": "", "content": [{"type": "text", "text": "10:00"}]}}]}),
]  # fmt: skip

# Grok


def grok(
    key: str, parent: str | None, sender: str, text: str, at: int, **fields: Any
) -> dict[str, Any]:
    return {"response": {"_id": key, "conversation_id": "g-1", "message": text, "sender": sender, "parent_response_id": parent,
                         "create_time": {"$date": {"$numberLong": str(1760000000000 + at * 1000)}}, "model": "grok-4", **fields}, "share_link": None}  # fmt: skip


GROK = {"conversations": [{
    "conversation": {"id": "g-1", "title": "Colours", "create_time": "2025-10-09T08:53:20Z", "leaf_response_id": None},
    "responses": [
        grok("1", None, "human", "A colour?", 0), grok("2", "1", "ASSISTANT", "Seven.", 1), grok("3", "1", "assistant", "Red.", 2, thinking_trace="One."),
        grok("4", "3", "human", "Draw it.", 3, image_attachments=["a.png"]), grok("5", "4", "grok-3", "Here.", 4),
    ]}], "projects": [], "tasks": []}  # fmt: skip

# Gemini

GEMINI = [
    {"header": "Gemini Apps", "title": "Prompted And a fruit?", "time": "2026-01-02T10:01:00.000Z", "products": ["Gemini Apps"],
     "safeHtmlItem": [{"html": "<p>A <b>fig</b>.</p>"}]},
    {"header": "Gemini Apps", "title": "Created a canvas", "time": "2026-01-02T10:00:30.000Z", "products": ["Gemini Apps"]},
    {"header": "Gemini Apps", "title": "Prompted Name a colour.\nAttached 1 file.", "time": "2026-01-02T10:00:00.000Z", "products": ["Gemini Apps"],
     "activityControls": ["Gemini Apps Activity"], "imageFile": "x.png", "safeHtmlItem": [{"html": "<p>Red:</p><pre><code class=\"language-css\">color: red;\n</code></pre>"}]},
]  # fmt: skip


def gemini_cell(asked: str, at: str, reply: str) -> str:
    return (
        '<div class="outer-cell mdl-cell mdl-cell--12-col mdl-shadow--2dp"><div class="mdl-grid"><div class="header-cell mdl-cell mdl-cell--12-col">'
        '<p class="mdl-typography--title">Gemini Apps<br></p></div><div class="content-cell mdl-cell mdl-cell--6-col mdl-typography--body-1">'
        f"Prompted\xa0{asked}<br>{at}<br>{reply}</div>"
        '<div class="content-cell mdl-cell mdl-cell--6-col mdl-typography--body-1 mdl-typography--text-right"></div><div class="content-cell mdl-cell mdl-cell--12-col mdl-typography--caption">'
        "<b>Products:</b><br>&emsp;Gemini Apps<br></div></div></div>"
    )


GEMINI_PAGE = (
    '<html><head><title>My Activity History</title></head><body><div class="mdl-grid">'
    + gemini_cell("And a fruit?", "Jan 2, 2026, 10:01:00\u202fAM CET", "<p>A <b>fig</b>.</p>")
    + gemini_cell(
        "Name a colour &amp; a shade.", "Jan 2, 2026, 10:00:00\u202fAM CET", "<p>Red.</p>"
    )
    + "</div></body></html>"
).encode()

# Messengers

TELEGRAM = {
    "name": "Bot", "type": "bot_chat", "id": 7,
    "messages": [
        {"id": 1, "type": "service", "date": "2026-01-02T10:00:00", "date_unixtime": "1767348000", "actor": "Ann", "action": "create"},
        {"id": 2, "type": "message", "date": "2026-01-02T10:00:01", "date_unixtime": "1767348001", "from": "Ann", "from_id": "user1", "text": "A colour?"},
        {"id": 3, "type": "message", "date": "2026-01-02T10:00:02", "date_unixtime": "1767348002", "from": "Bot", "from_id": "user2",
         "text": ["Red, ", {"type": "bold", "text": "of course"}, ".\n", {"type": "pre", "text": "red()", "language": "python"}]},
        {"id": 4, "type": "message", "date": "2026-01-03T10:00:02", "date_unixtime": "1767434402", "from": "Ann", "from_id": "user1", "text": "", "photo": "photos/1.jpg"},
        {"id": 5, "type": "message", "date": "2026-01-03T10:00:03", "date_unixtime": "1767434403", "from": "Bot", "from_id": "user2", "text": "A cat."},
    ],
}  # fmt: skip
DISCORD = {
    "guild": {"id": "1", "name": "Home"}, "channel": {"id": "2", "type": "GuildTextChat", "name": "general"}, "dateRange": {"after": None, "before": None},
    "messages": [
        {"id": "10", "type": "Default", "timestamp": "2026-01-02T10:00:00.000+00:00", "content": "<@9> a colour?",
         "author": {"id": "8", "name": "ann", "nickname": "Ann", "isBot": False}, "attachments": [], "embeds": [], "mentions": [{"id": "9", "name": "bot", "nickname": "Bot"}]},
        {"id": "11", "type": "Reply", "timestamp": "2026-01-02T10:00:01.000+00:00", "content": "Red.",
         "author": {"id": "9", "name": "bot", "nickname": "Bot", "isBot": True}, "attachments": [{"fileName": "x.png", "url": "x.png"}], "embeds": [], "mentions": []},
        {"id": "12", "type": "GuildMemberJoin", "timestamp": "2026-01-02T10:00:02.000+00:00", "content": "Joined.", "author": {"id": "7", "name": "cy", "isBot": False}},
    ],
}  # fmt: skip
WHATSAPP = b"""1/2/26, 9:59 AM - Messages and calls are end-to-end encrypted. No one outside of this chat can read them.
1/2/26, 10:00 AM - Ann: A colour?
Or a shade: any.
1/2/26, 10:01 AM - Bot: Red.
1/13/26, 10:02 AM - Ann: <Media omitted>
1/13/26, 10:03 AM - Bot: This message was deleted
1/13/26, 10:04 AM - Bot: A cat.
"""
WHATSAPP_IOS = """\u200e[02.01.26, 09:59:00] Ann: \u200eNachrichten und Anrufe sind Ende-zu-Ende-verschlüsselt.
[02.01.26, 10:00:00] Ann: Eine Farbe?
\u200e[02.01.26, 10:00:10] Ann: \u200e<Anhang: 0001-PHOTO.jpg>
[13.01.26, 10:01:00] Bot: Rot.
""".encode()

# Plain

TURNS = [{"role": "user", "content": "A colour?"}, {"role": "assistant", "content": "Red."}]
GOOGLE_TURNS = [
    {"role": "user", "parts": [{"text": "A fruit?"}]},
    {"role": "model", "parts": [{"text": "A fig."}]},
]
PAIRS = [
    {"prompt": "A colour?", "completion": "Red."}, {"Input": "A fruit?", "Output": "A fig.", "system": "Be brief."},
    {"question": "Where?", "context": "It is in Rome.", "answers": {"text": ["In Rome."], "answer_start": [0]}},
    {"query": "Who?", "response": "You."}, {"prompt": TURNS, "completion": [{"role": "assistant", "content": "And blue."}]},
]  # fmt: skip

PROGRAM_EXPORTS: dict[str, Callable[[Path], None]] = {
    "llama-cpp.json": content(array(LLAMA)),
    "llama-cpp-one-chat.json": content(json.dumps(LLAMA, indent=1).encode()),
    "llama-cpp.jsonl": content(lines({"type": "session", "harness": "llama.app", **LLAMA_CONV},
                                     *({"type": "message", "message": m} for m in LLAMA_MESSAGES))),
    "deepseek.json": content(array(DEEPSEEK, DEEPSEEK_OLD)),
    "deepseek.zip": archive({"conversations.json": array(DEEPSEEK), "user.json": b'{"user_id": "x"}'}),
    "lm-studio.json": content(json.dumps(LM_STUDIO, indent=2).encode()),
    "lm-studio.zip": archive({"conversations/1735.conversation.json": json.dumps(LM_STUDIO).encode()}),
    "jan.jsonl": content(lines(*JAN)),
    "jan.zip": archive({"threads/j-1/thread.json": json.dumps(JAN_THREAD).encode(), "threads/j-1/messages.jsonl": lines(*JAN)}),
    "grok.json": content(json.dumps(GROK).encode()),
    "grok.zip": archive({"ttl/30d/export_data/me/prod-grok-backend.json": json.dumps(GROK).encode(),
                           "ttl/30d/export_data/me/prod-mc-auth-mgmt-api.json": b'{"user": {"id": "me"}}'}),
    "gemini.json": content(array(*GEMINI)),
    "gemini.html": content(GEMINI_PAGE),
    "gemini.zip": archive({"Takeout/My Activity/Gemini Apps/MyActivity.html": GEMINI_PAGE,
                             "Takeout/archive_browser.html": b"<html><body>archive</body></html>"}),
    "telegram.json": content(json.dumps(TELEGRAM, indent=1).encode()),
    "telegram-account.json": content(json.dumps({"about": "x", "chats": {"about": "y", "list": [TELEGRAM]}}).encode()),
    "discord.json": content(json.dumps(DISCORD, indent=2).encode()),
    "whatsapp.txt": content(WHATSAPP),
    "whatsapp-ios.txt": content(WHATSAPP_IOS),
    "whatsapp.zip": archive({"_chat.txt": WHATSAPP_IOS}),
    "messages.json": content(array(*TURNS)),
    "messages-lists.json": content(array(TURNS, GOOGLE_TURNS)),
    "messages-lists.jsonl": content(lines(TURNS, GOOGLE_TURNS)),
    "messages-turns.jsonl": content(lines(*({"conversation_id": "1", **turn} for turn in TURNS))),
    "pairs.jsonl": content(lines(*PAIRS)),
    "pairs.json": content(array(*PAIRS)),
}  # fmt: skip
"""How to write each file, by its name; who is the assistant in chats between persons is Bot."""
