"""Chats written as the exports of programs that keep a tree of messages."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from benchmarks.exports_of_programs.chats import Chat, Exchange, Reply

PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"


def iso(seconds: float) -> str:
    """Return a time as ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


class Tree:
    """Entries of a chat with parents and children, in the order in which they were written."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.entries: list[dict[str, Any]] = []
        self.end: str | None = None

    def add(self, kind: str, parent: str | None = None, **facts: Any) -> str:
        """Add an entry below ``parent`` (or the end), which becomes the end; return its name."""
        key = f"c{self.chat.number}-{len(self.entries)}"
        above = parent if parent is not None else self.end
        at = self.chat.started + 20 * len(self.entries)
        self.entries.append(
            {"key": key, "parent": above, "children": [], "kind": kind, "at": at, **facts}
        )
        for entry in self.entries:
            if entry["key"] == above:
                entry["children"].append(key)
        self.end = key
        return key

    def ask(self, exchange: Exchange) -> None:
        """Add what is asked: first as it was before it was edited, with a reply of its own."""
        start = self.end
        if exchange.before_edit:
            self.add("user", text=exchange.before_edit)
            self.add("assistant", text="One moment, please.", reply=None)
            self.end = start
        for index, text in enumerate(exchange.asked):
            has_picture = exchange.has_picture and index == 0
            self.add("user", text=text, has_picture=has_picture, start=start)

    def others(self, reply: Reply) -> None:
        """Add replies that were generated and not kept."""
        start = self.end
        for other in reply.others:
            self.add("assistant", text=other, reply=None)
            self.end = start


def chatgpt(chat: Chat) -> dict[str, Any]:
    """Return a chat as ChatGPT exports it."""
    tree = Tree(chat)
    root = tree.add("root")
    tree.add("hidden", text="")
    for exchange in chat.exchanges:
        reply = exchange.reply
        if exchange.note:
            tree.add("system", text=exchange.note)
        tree.ask(exchange)
        tree.others(reply)
        if reply.thoughts:
            tree.add("thoughts", text=reply.thoughts)
        if reply.tool is not None:
            tree.add("call", tool=reply.tool, lead=f"{reply.names[0]}…")
            tree.add("result", tool=reply.tool)
        if reply.has_picture:
            tree.add("drawn")
        for index, part in enumerate(reply.parts):
            tree.add(
                "assistant", text=_with_chatgpt_marks(part, reply), reply=reply,
                is_cut=not reply.is_finished, is_first=index == 0,
            )  # fmt: skip
            if index < len(reply.parts) - 1:
                tree.add("continue")
    return {
        "title": chat.title, "create_time": chat.started + 0.5, "update_time": chat.started + 900.5,
        "mapping": {entry["key"]: _chatgpt_node(entry) for entry in tree.entries},
        "moderation_results": [], "current_node": tree.end, "conversation_id": root + "-id",
        "id": root + "-id", "default_model_slug": "gpt-5", "is_archived": False, "voice": None,
    }  # fmt: skip


def _with_chatgpt_marks(text: str, reply: Reply) -> str:
    marks = "".join(
        f"\ue200cite\ue202turn0search{n}\ue201" if n % 2 else f"【{n}†{name}】"
        for n, name in enumerate(reply.citations)
    )
    return text + marks


def _chatgpt_node(entry: dict[str, Any]) -> dict[str, Any]:
    kind = entry["kind"]
    node = {"id": entry["key"], "parent": entry["parent"], "children": entry["children"]}
    if kind == "root":
        return {**node, "message": None}
    role = {"thoughts": "assistant", "call": "assistant", "result": "tool", "drawn": "tool"}
    author = role.get(kind, "system" if kind in {"hidden", "continue"} else kind)
    content: dict[str, Any] = {"content_type": "text", "parts": [entry.get("text", "")]}
    message: dict[str, Any] = {
        "id": entry["key"], "author": {"role": author, "name": None, "metadata": {}},
        "create_time": entry["at"] + 0.25, "update_time": None, "content": content,
        "status": "finished_successfully", "end_turn": True, "weight": 1.0, "recipient": "all",
        "metadata": {"model_slug": "gpt-5"} if author == "assistant" else {}, "channel": None,
    }  # fmt: skip
    tool = entry.get("tool")
    if kind == "thoughts":
        message["content"] = {
            "content_type": "thoughts",
            "thoughts": [{"summary": "Thinking", "content": entry["text"]}],
        }
    elif kind == "call":
        message["content"] = {"content_type": "code", "text": json.dumps(tool.arguments)}
        message |= {"recipient": tool.name, "end_turn": False}
    elif kind == "result":
        message["author"]["name"] = tool.name
        message["content"] = {"content_type": "execution_output", "text": tool.result}
    elif kind == "drawn":
        message["author"]["name"] = "t2uay3k.sj1i4kz"
        pointer = {"content_type": "image_asset_pointer", "asset_pointer": "sediment://file_1"}
        message["content"] = {"content_type": "multimodal_text", "parts": [pointer]}
    elif kind in {"hidden", "continue"}:
        message["metadata"] = {"is_visually_hidden_from_conversation": True}
    elif entry.get("has_picture"):
        pointer = {"content_type": "image_asset_pointer", "asset_pointer": "sediment://file_2"}
        message["content"] = {
            "content_type": "multimodal_text", "parts": [pointer, entry["text"]],
        }  # fmt: skip
    elif entry.get("is_cut"):
        message |= {"status": "in_progress", "end_turn": None}
    return {**node, "message": message}


def claude(chat: Chat) -> dict[str, Any]:
    """Return a chat as Claude exports it."""
    tree = Tree(chat)
    for exchange in chat.exchanges:
        tree.ask(exchange)
        tree.others(exchange.reply)
        tree.add("assistant", text=exchange.reply.text, reply=exchange.reply)
    zeros = "00000000-0000-4000-8000-000000000000"
    messages = []
    for entry in tree.entries:
        reply: Reply | None = entry.get("reply")
        blocks = _claude_blocks(entry, reply)
        said = "\n".join(block["text"] for block in blocks if block["type"] == "text")
        if reply is not None and (reply.tool is not None or reply.artifact):
            notice = "This block is not supported on your current device yet."
            said = f"{said}\n```\n{notice}\n```"
        messages.append(
            {
                "uuid": entry["key"], "text": said, "content": blocks,
                "sender": "human" if entry["kind"] == "user" else "assistant",
                "created_at": iso(entry["at"]), "updated_at": iso(entry["at"]), "attachments": [],
                "files": [{"file_name": "a.png"}] if entry.get("has_picture") else [],
                "parent_message_uuid": entry["parent"] or zeros,
            }
        )  # fmt: skip
    return {
        "uuid": f"claude-{chat.number}", "name": chat.title, "summary": "",
        "created_at": iso(chat.started), "updated_at": iso(chat.started + 900),
        "account": {"uuid": "me"}, "chat_messages": messages,
    }  # fmt: skip


def _claude_blocks(entry: dict[str, Any], reply: Reply | None) -> list[dict[str, Any]]:
    at = {"start_timestamp": iso(entry["at"]), "stop_timestamp": iso(entry["at"]), "flags": None}
    if reply is None:
        return [{**at, "type": "text", "text": entry["text"], "citations": []}]
    blocks: list[dict[str, Any]] = []
    if reply.thoughts:
        blocks.append({**at, "type": "thinking", "thinking": reply.thoughts, "summaries": []})
    if reply.tool is not None:
        blocks += _claude_call(reply.tool.name, reply.tool.arguments, reply.tool.result, entry)
    if reply.artifact:
        made = {"command": "create", "type": "text/markdown", "content": reply.artifact}
        blocks += _claude_call("artifacts", made, "OK", entry)
    blocks.append(
        {
            **at, "type": "text", "text": reply.text,
            "citations": [{"title": name, "url": "https://x.example"} for name in reply.citations],
        }
    )  # fmt: skip
    return blocks


def _claude_call(
    name: str, given: dict[str, object], result: str, entry: dict[str, Any]
) -> list[dict[str, Any]]:
    call = f"toolu_{entry['key']}_{name}"
    return [
        {"type": "tool_use", "id": call, "name": name, "input": given},
        {"type": "tool_result", "tool_use_id": call, "name": name,
         "content": [{"type": "text", "text": result}], "is_error": False},
    ]  # fmt: skip


def open_webui(chat: Chat) -> dict[str, Any]:
    """Return a chat as Open WebUI exports it."""
    tree = Tree(chat)
    for exchange in chat.exchanges:
        tree.ask(exchange)
        tree.others(exchange.reply)
        tree.add("assistant", text=_webui_text(exchange.reply), reply=exchange.reply)
    history = {}
    for entry in tree.entries:
        reply: Reply | None = entry.get("reply")
        message = {
            "id": entry["key"], "parentId": entry["parent"], "childrenIds": entry["children"],
            "role": entry["kind"], "content": entry["text"], "timestamp": entry["at"],
        }  # fmt: skip
        if entry["kind"] == "assistant":
            message |= {"model": reply.model if reply else "m-small", "modelIdx": 0}
            message["done"] = reply is None or reply.is_finished
        elif entry.get("has_picture"):
            message["files"] = [{"type": "image", "url": PIXEL}]
        history[entry["key"]] = message
    inner = {
        "id": "", "title": chat.title, "models": ["m-small"], "params": {"system": chat.system},
        "history": {"messages": history, "currentId": tree.end}, "messages": [], "tags": [],
        "timestamp": chat.started * 1000,
    }  # fmt: skip
    return {
        "id": f"webui-{chat.number}", "user_id": "me", "title": chat.title, "chat": inner,
        "updated_at": chat.started, "created_at": chat.started, "share_id": None,
        "archived": False, "pinned": False, "meta": {}, "folder_id": None,
    }  # fmt: skip


def _webui_text(reply: Reply) -> str:
    said = ""
    if reply.thoughts or reply.is_thought_open:
        quoted = "\n".join(f"> {line}" for line in (reply.thoughts or "Hm.").split("\n"))
        done = "false" if reply.is_thought_open else "true"
        said += (
            f'<details type="reasoning" done="{done}" duration="3">\n'
            f"<summary>Thought for 3 seconds</summary>\n{quoted}\n</details>\n"
        )
    if reply.tool is not None:
        given = json.dumps(json.dumps(reply.tool.arguments)).replace('"', "&quot;")
        result = json.dumps(reply.tool.result).replace('"', "&quot;")
        said += (
            f'<details type="tool_calls" done="true" id="t{reply.names[0]}" '
            f'name="{reply.tool.name}" arguments="{given}" result="{result}" files="" embeds="">\n'
            "<summary>Tool Executed</summary>\n</details>\n"
        )
    marks = "".join(f" [{n + 1}]" for n in range(len(reply.citations)))
    return said + reply.text + marks


def librechat(chat: Chat) -> dict[str, Any]:
    """Return a chat as LibreChat exports it."""
    tree = Tree(chat)
    for exchange in chat.exchanges:
        tree.ask(exchange)
        tree.others(exchange.reply)
        tree.add("assistant", text=exchange.reply.text, reply=exchange.reply)
    zeros = "00000000-0000-0000-0000-000000000000"
    messages = []
    for entry in tree.entries:
        reply: Reply | None = entry.get("reply")
        is_user = entry["kind"] == "user"
        message = {
            "messageId": entry["key"], "parentMessageId": entry["parent"] or zeros,
            "conversationId": f"libre-{chat.number}", "sender": "User" if is_user else "GPT",
            "text": entry["text"], "isCreatedByUser": is_user, "error": False,
            "unfinished": reply is not None and not reply.is_finished,
            "model": None if is_user else "gpt-5", "createdAt": iso(entry["at"]), "children": [],
        }  # fmt: skip
        if reply is not None:
            _libre_content(message, reply)
        elif entry.get("has_picture"):
            message["files"] = [{"filename": "a.png", "filepath": "/a.png", "type": "image/png"}]
        messages.append(message)
    return {
        "conversationId": f"libre-{chat.number}", "endpoint": "openAI", "title": chat.title,
        "exportAt": "10:00:00 GMT+0100", "branches": True, "recursive": False,
        "options": {"model": "gpt-5", "promptPrefix": chat.system or None}, "messages": messages,
    }  # fmt: skip


def _libre_content(message: dict[str, Any], reply: Reply) -> None:
    said = reply.text
    if reply.artifact:
        said += (
            f'\n\n:::artifact{{identifier="notes" type="text/markdown" title="Notes"}}\n'
            f"```\n{reply.artifact}\n```\n:::"
        )
    said += "".join(f"\\ue202turn0search{n}" for n in range(len(reply.citations)))
    if reply.tool is None:
        message["text"] = f":::thinking\n{reply.thoughts}\n:::\n{said}" if reply.thoughts else said
        return
    message["text"] = ""
    call = {
        "id": f"call_{reply.names[0]}", "name": reply.tool.name, "type": "tool_call",
        "args": json.dumps(reply.tool.arguments), "output": reply.tool.result, "progress": 1,
    }  # fmt: skip
    thought = [{"type": "think", "think": reply.thoughts}] if reply.thoughts else []
    message["content"] = [
        *thought, {"type": "tool_call", "tool_call": call}, {"type": "text", "text": said},
    ]  # fmt: skip


def llama_cpp(chat: Chat) -> dict[str, Any]:
    """Return a chat as llama.cpp's web UI exports it."""
    tree = Tree(chat)
    tree.add("root")
    if chat.system:
        tree.add("system", text=chat.system)
    for exchange in chat.exchanges:
        reply = exchange.reply
        tree.ask(exchange)
        tree.others(reply)
        if reply.tool is not None:
            tree.add("call", tool=reply.tool)
            tree.add("result", tool=reply.tool)
        tree.add("assistant", text=_think_text(reply), reply=reply)
    messages = [_llama_message(chat, entry) for entry in tree.entries]
    conv = {
        "id": f"llama-{chat.number}", "name": chat.title, "lastModified": chat.started * 1000,
        "currNode": tree.end,
    }  # fmt: skip
    return {"conv": conv, "messages": messages}


def _think_text(reply: Reply) -> str:
    """Return a reply as a model writes it: thoughts in tags, which a stopped one left open."""
    if reply.is_thought_open:
        return f"<think>\n{reply.thoughts or 'Hm.'}"
    return f"<think>\n{reply.thoughts}\n</think>\n\n{reply.text}" if reply.thoughts else reply.text


def _llama_message(chat: Chat, entry: dict[str, Any]) -> dict[str, Any]:
    kind = entry["kind"]
    roles = {"root": "system", "call": "assistant", "result": "tool"}
    tool = entry.get("tool")
    function = {"name": tool.name, "arguments": json.dumps(tool.arguments)} if tool else {}
    calls = [{"id": f"t{entry['at']}", "type": "function", "function": function}]
    message = {
        "convId": f"llama-{chat.number}", "id": entry["key"], "parent": entry["parent"],
        "children": entry["children"], "role": roles.get(kind, kind),
        "type": "root" if kind == "root" else "text", "timestamp": entry["at"] * 1000,
        "content": tool.result if kind == "result" else entry.get("text", ""),
        "toolCalls": json.dumps(calls) if kind == "call" else "",
    }  # fmt: skip
    reply: Reply | None = entry.get("reply")
    if reply is not None:
        message["model"] = reply.model
    if kind == "result":
        message["toolCallId"] = f"t{entry['at'] - 20}"
    if entry.get("has_picture"):
        message["extra"] = [{"type": "IMAGE", "name": "a.png", "base64Url": PIXEL}]
    return message


def deepseek(chat: Chat) -> dict[str, Any]:
    """Return a chat as DeepSeek exports it."""
    tree = Tree(chat)
    tree.add("root")
    for exchange in chat.exchanges:
        tree.ask(exchange)
        tree.others(exchange.reply)
        tree.add("assistant", text=exchange.reply.text, reply=exchange.reply)
    mapping = {}
    for entry in tree.entries:
        node = {"id": entry["key"], "parent": entry["parent"], "children": entry["children"]}
        mapping[entry["key"]] = {**node, "message": _deepseek_message(entry)}
    return {
        "id": f"deepseek-{chat.number}", "title": chat.title, "inserted_at": iso(chat.started),
        "updated_at": iso(chat.started + 900), "mapping": mapping,
    }  # fmt: skip


def _deepseek_message(entry: dict[str, Any]) -> dict[str, Any] | None:
    if entry["kind"] == "root":
        return None
    fragments: list[dict[str, Any]] = []
    reply: Reply | None = entry.get("reply")
    text = entry["text"]
    if reply is not None:
        if reply.thoughts:
            fragments.append({"type": "THINK", "content": reply.thoughts})
        if reply.citations:
            found = [{"url": "https://x.example", "title": name} for name in reply.citations]
            fragments.append({"type": "SEARCH", "results": found})
            text += "".join(f"[citation:{n + 1}]" for n in range(len(found)))
    kind = "REQUEST" if entry["kind"] == "user" else "RESPONSE"
    fragments.append({"type": kind, "content": text})
    message = {
        "files": [{"file_name": "a.png"}] if entry.get("has_picture") else [],
        "model": "deepseek-chat", "inserted_at": iso(entry["at"]), "fragments": fragments,
    }  # fmt: skip
    if reply is not None and not reply.is_finished:
        message["status"] = "INCOMPLETE"
    return message


def grok(chat: Chat) -> dict[str, Any]:
    """Return a chat as Grok exports it."""
    tree = Tree(chat)
    for exchange in chat.exchanges:
        tree.ask(exchange)
        tree.others(exchange.reply)
        tree.add("assistant", text=exchange.reply.text, reply=exchange.reply)
    responses = []
    for entry in tree.entries:
        reply: Reply | None = entry.get("reply")
        marks = "".join(
            '<grok:render card_id="a" card_type="citation_card" type="render_inline_citation">'
            f'<argument name="citation_id">{n}</argument></grok:render>'
            for n in range(len(reply.citations) if reply else 0)
        )
        response = {
            "_id": entry["key"], "conversation_id": f"grok-{chat.number}",
            "message": entry["text"] + marks, "parent_response_id": entry["parent"],
            "sender": "human" if entry["kind"] == "user" else "ASSISTANT",
            "create_time": {"$date": {"$numberLong": str(entry["at"] * 1000)}},
            "model": "grok-4", "partial": reply is not None and not reply.is_finished,
        }  # fmt: skip
        if reply is not None and reply.thoughts:
            response["thinking_trace"] = reply.thoughts
        responses.append({"response": response, "share_link": None})
    facts = {"id": f"grok-{chat.number}", "title": chat.title, "create_time": iso(chat.started)}
    return {"conversation": {**facts, "leaf_response_id": None}, "responses": responses}
