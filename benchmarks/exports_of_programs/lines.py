"""Chats written as the exports of programs that keep messages in a row."""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime
from typing import Any

from benchmarks.exports_of_programs.chats import Chat, Exchange, Reply
from benchmarks.exports_of_programs.trees import PIXEL, iso


def lm_studio(chat: Chat) -> dict[str, Any]:
    """Return a chat as LM Studio keeps it."""
    messages = []
    for exchange in chat.exchanges:
        versions = [exchange.before_edit] if exchange.before_edit else []
        for index, text in enumerate(exchange.asked):
            picture = [{"type": "file", "fileIdentifier": "a.png", "fileType": "image"}]
            shown = picture if exchange.has_picture and index == 0 else []
            texts = [*versions, text] if index == 0 else [text]
            given = [
                {"type": "singleStep", "role": "user",
                 "content": [{"type": "text", "text": one}, *shown]}
                for one in texts
            ]  # fmt: skip
            messages.append({"versions": given, "currentlySelected": len(given) - 1})
        steps = [_studio_steps(exchange.reply)]
        steps += [[_studio_block(other)] for other in exchange.reply.others]
        made = [
            {"type": "multiStep", "role": "assistant", "steps": one,
             "senderInfo": {"senderName": exchange.reply.model}}
            for one in steps
        ]  # fmt: skip
        messages.append({"versions": made, "currentlySelected": 0})
    return {
        "name": chat.title, "pinned": False, "createdAt": chat.started * 1000, "preset": "",
        "tokenCount": 100, "systemPrompt": chat.system, "messages": messages, "notes": [],
        "usePerChatPredictionConfig": True, "perChatPredictionConfig": {"fields": []},
        "clientInput": "", "plugins": [], "lastUsedModel": {"identifier": "m-small"},
    }  # fmt: skip


def _studio_block(text: str, **facts: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": text, "fromDraftModel": False, "tokensCount": 9}]
    return {
        "type": "contentBlock", "stepIdentifier": "s", "content": content,
        "defaultShouldIncludeInContext": True, "shouldIncludeInContext": True, **facts,
    }  # fmt: skip


def _studio_steps(reply: Reply) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = []
    if reply.thoughts:
        style = {"type": "thinking", "ended": not reply.is_thought_open, "title": "Thought"}
        steps.append(
            _studio_block(reply.thoughts, style=style, prefix="<think>", suffix="</think>")
        )
    if reply.tool is not None:
        call = {
            "type": "toolCallRequest", "callId": 1, "name": reply.tool.name,
            "parameters": reply.tool.arguments, "pluginIdentifier": "mcp/x",
        }  # fmt: skip
        result = {"type": "toolCallResult", "callId": 1, "content": reply.tool.result}
        steps.append({**_studio_block(""), "content": [call]})
        steps.append({"type": "toolStatus", "callId": 1, "statusState": {}})
        steps.append({**_studio_block(""), "content": [result]})
    reason = "eosFound" if reply.is_finished else "userStopped"
    facts = {"indexedModelIdentifier": reply.model, "stats": {"stopReason": reason}}
    steps += [_studio_block(part, genInfo=facts) for part in reply.parts]
    steps.append({"type": "debugInfoBlock", "debugInfo": "Conversation naming"})
    return steps


def silly_tavern(chat: Chat) -> list[dict[str, Any]]:
    """Return a chat as SillyTavern keeps it: a line of facts, and a line per message."""
    found: list[dict[str, Any]] = [
        {"user_name": "Ann", "character_name": chat.title, "create_date": iso(chat.started),
         "chat_metadata": {"integrity": f"tavern-{chat.number}"}}
    ]  # fmt: skip
    common = {"is_system": False, "send_date": iso(chat.started), "extra": {}}
    if chat.greeting or chat.number % 2 == 0:
        greeting = chat.greeting or f"Hello {{{{user}}}}, I am {{{{char}}}}, {chat.title}."
        found.append({"name": chat.title, "is_user": False, "mes": greeting, **common})
    for exchange in chat.exchanges:
        if exchange.note:
            found.append({"name": "Note", "is_user": False, **common, "mes": exchange.note})
            found[-1]["is_system"] = True
        for text in exchange.asked:
            shown = {"image": "a.png"} if exchange.has_picture else {}
            found.append({"name": "Ann", "is_user": True, "mes": text, **common, "extra": shown})
        reply = exchange.reply
        said = reply.text
        if reply.is_thought_open:
            said = f"<think>\n{reply.thoughts or 'Hm.'}"
        elif reply.thoughts and chat.number % 3 == 0:
            said = f"<think>\n{reply.thoughts}\n</think>\n{said}"
        extra = {"api": "llamacpp", "model": reply.model}
        if reply.thoughts and chat.number % 3:
            extra["reasoning"] = reply.thoughts
        found.append(
            {"name": chat.title, "is_user": False, "mes": said, **common, "extra": extra,
             "swipes": [said, *reply.others], "swipe_id": 0}
        )  # fmt: skip
    return found


def gemini(chat: Chat) -> list[dict[str, Any]]:
    """Return a chat's entries of Google's activity, the newest first."""
    entries = []
    at = chat.started
    for exchange in chat.exchanges:
        at += 60
        title = "Prompted " + "\n".join(exchange.asked)
        entry: dict[str, Any] = {
            "header": "Gemini Apps", "title": title, "products": ["Gemini Apps"],
            "time": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "activityControls": ["Gemini Apps Activity"],
            "safeHtmlItem": [{"html": _html(exchange.reply.text)}],
        }  # fmt: skip
        if exchange.has_picture:
            entry |= {"imageFile": "a.png", "title": f"{title}\nAttached 1 file."}
        entries.append(entry)
    return entries[::-1]


def _html(said: str) -> str:
    pieces = []
    for paragraph in said.split("\n\n"):
        if fence := re.fullmatch(r"```(\w*)\n(.*)\n```", paragraph, re.DOTALL):
            code = html.escape(fence[2])
            pieces.append(f'<pre><code class="language-{fence[1]}">{code}\n</code></pre>')
        elif paragraph.startswith("- "):
            items = "".join(f"<li>{html.escape(one[2:])}</li>" for one in paragraph.split("\n"))
            pieces.append(f"<ul>{items}</ul>")
        else:
            pieces.append(f"<p>{html.escape(paragraph)}</p>")
    return "".join(pieces)


def openai(chat: Chat) -> dict[str, Any]:
    """Return a chat as programs log what they send to a model and get from it."""
    messages: list[dict[str, Any]] = []
    if chat.system:
        messages.append({"role": "system", "content": chat.system})
    if chat.greeting:
        messages.append({"role": "assistant", "content": chat.greeting})
    for exchange in chat.exchanges:
        messages += _openai_exchange(exchange)
    return {"messages": messages}


def _openai_exchange(exchange: Exchange) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if exchange.note:
        found.append({"role": "system", "content": exchange.note})
    for text in exchange.asked:
        shown = [{"type": "image_url", "image_url": {"url": PIXEL}}]
        content = [{"type": "text", "text": text}, *shown] if exchange.has_picture else text
        found.append({"role": "user", "content": content})
    reply = exchange.reply
    if reply.tool is not None:
        call_id = f"call_{reply.names[0]}"
        function = {"name": reply.tool.name, "arguments": json.dumps(reply.tool.arguments)}
        calls = [{"id": call_id, "type": "function", "function": function}]
        found.append({"role": "assistant", "content": None, "tool_calls": calls})
        found.append({"role": "tool", "tool_call_id": call_id, "content": reply.tool.result})
    parts = list(reply.parts)
    if reply.is_thought_open:
        parts = [f"<think>\n{reply.thoughts or 'Hm.'}"]
    elif reply.thoughts:
        parts[0] = f"<think>\n{reply.thoughts}\n</think>\n\n{parts[0]}"
    found += [{"role": "assistant", "content": part} for part in parts]
    return found


def jan(chat: Chat) -> list[dict[str, Any]]:
    """Return a chat as the lines of Jan's ``messages.jsonl``."""
    found = []
    for exchange in chat.exchanges:
        reply = exchange.reply
        said = (
            f"<think>\n{reply.thoughts}\n</think>\n\n{reply.text}" if reply.thoughts else reply.text
        )
        texts = [("user", one, "ready") for one in exchange.asked]
        texts.append(("assistant", said, "ready" if reply.is_finished else "stopped"))
        for role, text, status in texts:
            content = [{"type": "text", "text": {"value": text, "annotations": []}}]
            number = len(found)
            found.append(
                {"id": f"jan-{chat.number}-{number}", "object": "thread.message", "role": role,
                 "thread_id": f"jan-{chat.number}", "content": content, "status": status,
                 "created_at": (chat.started + number) * 1000, "metadata": {}}
            )  # fmt: skip
    return found


def telegram(chat: Chat) -> dict[str, Any]:
    """Return a chat with a bot as Telegram exports it."""
    found: list[dict[str, Any]] = []
    for exchange in chat.exchanges:
        said = [("Ann", "user1", one) for one in exchange.asked]
        said += [("Helper", "user2", part.strip()) for part in exchange.reply.parts]
        for person, person_id, text in said:
            at = chat.started + 30 * len(found)
            date = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            found.append(
                {"id": len(found), "type": "message", "date": date, "date_unixtime": str(at),
                 "from": person, "from_id": person_id, "text": text,
                 "text_entities": [{"type": "plain", "text": text}]}
            )  # fmt: skip
    return {"name": "Helper", "type": "bot_chat", "id": chat.number, "messages": found}


def own_log(chat: Chat) -> list[dict[str, Any]]:
    """Return a chat as the logger of this project records it: a line per exchange."""
    found = []
    for number, exchange in enumerate(chat.exchanges):
        reply = exchange.reply
        said = (
            f"<think>\n{reply.thoughts}\n</think>\n\n{reply.text}" if reply.thoughts else reply.text
        )
        if reply.is_thought_open:
            said = f"<think>\n{reply.thoughts or 'Hm.'}"
        ids = [f"own-{chat.number}-{number}-q", f"own-{chat.number}-{number}-a"]
        found.append(
            {"user_message": "\n\n".join(exchange.asked), "bot_response": said, "metadata": {},
             "timestamp": iso(chat.started + 60 * number), "session_id": f"own-{chat.number}",
             "message_ids": ids, "schema": "ft-turn/1"}
        )  # fmt: skip
    return found
