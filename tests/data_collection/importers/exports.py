"""What other programs write, one small file per known variant of each format.

The shapes follow those programs' own writers; the words are made up. Names begin with the
importer's name, so that tests know who must recognise a file.
"""

# ruff: noqa: E501 - records stand on lines of their own, as in the files

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

from fine_tuning.data_collection.importers.catalogue import IMPORTERS
from tests.data_collection.importers.program_exports import PROGRAM_EXPORTS

ASSISTANT = "Bot"
"""Who is the assistant in the chats between persons."""
ZEROS = "00000000-0000-0000-0000-000000000000"


def lines(*records: Any) -> bytes:
    return b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)


def array(*records: Any) -> bytes:
    return json.dumps(list(records), indent=2, ensure_ascii=False).encode()


def said(role: str, content: Any, **fields: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **fields}


# OpenAI

OPENAI = [
    {"messages": [said("system", "Be brief."), said("user", "Hi"), said("assistant", "Hello.")]},
    {
        "messages": [
            said("user", [{"type": "text", "text": "What is this?"},
                          {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}]),
            said("assistant", "A cat.", weight=0),
            said("user", "Sure?"),
            said("assistant", [{"type": "text", "text": "Yes."}], weight=1),
        ]
    },
    {
        "messages": [
            said("developer", "Use tools."),
            said("user", "Weather in Łódź?"),
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "c1", "type": "function",
                 "function": {"name": "weather", "arguments": '{"city": "Łódź"}'}}]},
            said("tool", "rain", tool_call_id="c1"),
            said("assistant", "It rains."),
        ],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": {}}}],
        "parallel_tool_calls": False,
    },
    {
        "messages": [
            said("user", "Weather?"),
            {"role": "assistant", "content": None,
             "function_call": {"name": "weather", "arguments": "{}"}},
            {"role": "function", "name": "weather", "content": "sun"},
            {"role": "assistant", "content": None, "refusal": "I would rather not."},
        ]
    },
]  # fmt: skip

PREFERENCES = [
    {"input": {"messages": [said("user", "Hi")], "tools": []},
     "preferred_output": [said("assistant", "Hello!")],
     "non_preferred_output": [said("assistant", "What?")]},
    {"prompt": "Name a colour.", "chosen": "Red.", "rejected": "Seven."},
    {"prompt": [said("user", "Name a fruit.")], "chosen": [said("assistant", "Fig.")],
     "rejected": [said("assistant", "Fork.")]},
    {"prompt": "2+2?", "chosen": [said("user", "2+2?"), said("assistant", "4")],
     "rejected": [said("user", "2+2?"), said("assistant", "5")], "score_chosen": 9.0},
    {"chosen": "\n\nHuman: Why?\n\nAssistant: Because.", "rejected": "\n\nHuman: Why?\n\nAssistant: No."},
    {"system": "Be kind.", "question": "Who?", "chosen": "You.", "rejected": "Nobody."},
]  # fmt: skip

KTO = [
    {"prompt": "Tell a joke.", "completion": "No.", "label": False},
    {"prompt": [said("user", "Sing.")], "completion": [said("assistant", "La.")], "label": True},
]

# ShareGPT

SHAREGPT = [
    {"id": "abc_0", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
    {"id": "abc_1", "conversations": [{"from": "gpt", "value": "More"}, {"from": "human", "value": "Ok"}]},
    {"system": "Be brief.", "tools": "[]", "conversations": [
        {"from": "system", "value": "You are terse."}, {"from": "user", "value": "Weather?"},
        {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Rome"}}'},
        {"from": "observation", "value": "sun"}, {"from": "chatgpt", "value": "Sun."}]},
    {"items": [{"from": "human", "value": "Q"}, {"from": "bard", "value": "A"}]},
    {"conversations": [{"role": "user", "content": "Q2"}, {"role": "assistant", "content": "A2"}]},
    {"conversation_id": 7, "conversation": [{"human": "Q3", "assistant": "A3"}, {"human": "Q4", "assistant": "A4"}]},
    {"messages": [{"from": "human", "value": "Q5"}, {"from": "gpt", "value": "A5", "weight": 0}]},
]  # fmt: skip

ALPACA = [
    {"instruction": "Add.", "input": "1 1", "output": "2"},
    {"instruction": "Say hi.", "input": "", "output": "Hi.", "system": "Be kind.",
     "history": [["Hello", "Hello."]]},
    {"instruction": "Name a colour.", "output": "Red."},
]  # fmt: skip

# ChatGPT


def node(key: str, parent: str | None, children: list[str], message: Any) -> dict[str, Any]:
    return {"id": key, "parent": parent, "children": children, "message": message}


def chatgpt_message(key: str, role: str, content: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "id": key, "author": {"role": role, "name": None, "metadata": {}}, "content": content,
        "create_time": 1700000000.25, "status": "finished_successfully", "end_turn": True,
        "weight": 1.0, "metadata": {"model_slug": "gpt-4o"}, "recipient": "all", **fields,
    }  # fmt: skip


def written(*texts: Any) -> dict[str, Any]:
    return {"content_type": "text", "parts": list(texts)}


CHATGPT_BRANCHES = {
    "title": "Colours", "create_time": 1700000000.5, "update_time": 1700000100.0,
    "conversation_id": "chat-1", "current_node": "a2",
    "mapping": {
        "root": node("root", None, ["sys"], None),
        "sys": node("sys", "root", ["ctx"], chatgpt_message("sys", "system", written(""))),
        "ctx": node("ctx", "sys", ["u1"], chatgpt_message(
            "ctx", "user", {"content_type": "user_editable_context", "user_profile": "secret"})),
        "u1": node("u1", "ctx", ["a1", "a2"], chatgpt_message("u1", "user", written("Name a colour."))),
        "a1": node("a1", "u1", [], chatgpt_message("a1", "assistant", written("Seven."))),
        "a2": node("a2", "u1", [], chatgpt_message("a2", "assistant", written("Red.", ""))),
    },
}  # fmt: skip

CHATGPT_RICH = {
    "title": "Tools", "create_time": 1700000000, "id": "chat-2", "current_node": "a",
    "mapping": {
        "a": node("a", "out", [], chatgpt_message("a", "assistant", written("It is 4 \ud83d"))),
        "u": node("u", None, ["think"], chatgpt_message("u", "user", {
            "content_type": "multimodal_text", "parts": [
                {"content_type": "image_asset_pointer", "asset_pointer": "file-service://file-1", "width": 3},
                {"content_type": "audio_transcription", "text": "spoken words"}, "Add this."]})),
        "think": node("think", "u", ["code"], chatgpt_message("think", "assistant", {
            "content_type": "thoughts", "thoughts": [{"summary": "Adding", "content": "I add."}]})),
        "code": node("code", "think", ["out"], chatgpt_message(
            "code", "assistant", {"content_type": "code", "language": "python", "text": "2+2"},
            recipient="python")),
        "out": node("out", "code", ["a"], chatgpt_message(
            "out", "tool", {"content_type": "execution_output", "text": "4"},
            author={"role": "tool", "name": "python"})),
        "hid": node("hid", "a", [], chatgpt_message("hid", "assistant", written("unseen"), metadata={
            "is_visually_hidden_from_conversation": True})),
    },
}  # fmt: skip

CHATGPT_THUMBS = [
    {"id": "a2", "conversation_id": "chat-1", "rating": "thumbs_up", "content": "nice"}
]

# Claude

CLAUDE_OLD = {
    "uuid": "cl-1", "name": "Soup", "created_at": "2024-05-01T10:00:00.000000+00:00",
    "updated_at": "2024-05-01T10:01:00+00:00", "account": {"uuid": "me"},
    "chat_messages": [
        {"uuid": "m1", "text": "A recipe?", "sender": "human", "created_at": "2024-05-01T10:00:00Z",
         "attachments": [{"file_name": "list.txt", "file_size": 4, "extracted_content": "salt"}], "files": []},
        {"uuid": "m2", "text": "Boil water.", "sender": "assistant", "attachments": [], "files": []},
    ],
}  # fmt: skip

CLAUDE_BLOCKS = {
    "uuid": "cl-2", "name": "", "summary": "About time", "created_at": "2025-05-01T10:00:00.000000Z",
    "current_leaf_message_uuid": "n4",
    "chat_messages": [
        {"uuid": "n1", "sender": "human", "text": "Time?", "parent_message_uuid": "00000000-0000-4000-8000-000000000000",
         "content": [{"type": "text", "text": "Time?"}], "attachments": [], "files": [{"file_name": "x.png"}]},
        {"uuid": "n2", "sender": "assistant", "parent_message_uuid": "n1", "text": "This block is not supported",
         "content": [{"type": "thinking", "thinking": "A clock."},
                     {"type": "text", "text": "Let me look."},
                     {"type": "tool_use", "id": "t1", "name": "clock", "input": {"zone": "UTC"}},
                     {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "10:00"}]},
                     {"type": "text", "text": "It is ten."}], "attachments": [], "files": []},
        {"uuid": "n3", "sender": "human", "parent_message_uuid": "n2", "text": "Thanks",
         "content": [{"type": "text", "text": "Thanks"}], "attachments": [], "files": []},
        {"uuid": "n4", "sender": "assistant", "parent_message_uuid": "n3", "text": "Welcome",
         "content": [{"type": "text", "text": "Welcome"}], "attachments": [], "files": [],
         "chat_feedback": {"type": "upvote", "reason": "friendly"}},
        {"uuid": "n5", "sender": "human", "parent_message_uuid": "n2", "text": "And tomorrow?",
         "content": [{"type": "text", "text": "And tomorrow?"}], "attachments": [], "files": []},
    ],
}  # fmt: skip

# Open WebUI


def webui_message(
    key: str, parent: str | None, role: str, content: str, **fields: Any
) -> dict[str, Any]:
    return {"id": key, "parentId": parent, "childrenIds": [], "role": role, "content": content,
            "timestamp": 1700000000, **fields}  # fmt: skip


WEBUI_TREE = {
    "u": webui_message("u", None, "user", "Name a colour."),
    "a": webui_message("a", "u", "assistant", "Seven.", model="m1", modelIdx=0, done=True,
                       annotation={"rating": -1, "reason": "not_correct", "comment": "no colour", "tags": ["bad"],
                                   "details": {"rating": 2}}),
    "b": webui_message("b", "u", "assistant",
                       '<details type="reasoning" done="true" duration="2">\n<summary>Thought</summary>\n'
                       "> A colour.\n</details>\nRed.", model="m2", modelIdx=1, done=True,
                       annotation={"rating": "1", "comment": ""}),
    "u2": webui_message("u2", "b", "user", "Look", timestamp=1700000000123,
                        files=[{"type": "image", "url": "data:image/png;base64,iVBO", "name": "x.png"}]),
    "c": webui_message("c", "u2", "assistant", "I se", model="m2", done=False),
}  # fmt: skip
WEBUI_CHAT = {"title": "Colours", "models": ["m1", "m2"], "params": {"system": "Be brief."},
              "history": {"messages": WEBUI_TREE, "currentId": "c"},
              "messages": [], "timestamp": 1700000000000, "tags": ["art"]}  # fmt: skip
WEBUI_WRAPPED = {"id": "w-1", "user_id": "me", "title": "Colours", "chat": WEBUI_CHAT,
                 "created_at": 1700000000, "updated_at": 1700000001, "archived": False}  # fmt: skip
WEBUI_FEEDBACK = [
    {"id": "f1", "user_id": "me", "type": "rating", "version": 0, "created_at": 1700000002,
     "data": {"rating": 1, "model_id": "m2", "sibling_model_ids": ["m1"], "reason": "accurate_information",
              "comment": "good", "tags": [], "details": {"rating": 9}},
     "meta": {"chat_id": "w-1", "message_id": "b", "message_index": 2, "arena": False},
     "snapshot": {"chat": WEBUI_WRAPPED}},
    {"id": "f2", "type": "rating", "data": {"rating": -1}, "meta": {"chat_id": "w-1", "message_id": "a"}},
]  # fmt: skip

# AnythingLLM

ANYTHING = [
    {"id": 1, "prompt": "Hi", "response": "<think>Greet.</think>Hello.", "sent_at": "2024-05-01T10:00:00.000Z",
     "attachments": [{"type": "image", "image": "data:image/png;base64,iVBO"}], "workspace": "Home",
     "username": "me", "rating": "GOOD"},
    {"id": 2, "prompt": "Bye", "response": "What?", "sent_at": "2024-05-01T10:01:00.000Z", "attachments": [],
     "workspace": "Home", "username": "me", "rating": "BAD"},
    {"id": 3, "prompt": "Hm", "response": "Yes?", "sent_at": "2024-05-01T10:02:00.000Z", "attachments": [],
     "workspace": "Home", "username": "API", "rating": "--"},
]  # fmt: skip
ANYTHING_CSV = b"""id,workspace,prompt,response,sent_at,username,rating
"1","Home","Hi, you","He said ""hello"" ","2024-05-01T10:00:00.000Z","me","GOOD"
"2","Home","Bye","What?","2024-05-01T10:01:00.000Z","me","BAD"
"3","Home","Hm","Yes?","2024-05-01T10:02:00.000Z","API","--"
"""

# LibreChat


def libre(key: str, parent: str, text: str, **fields: Any) -> dict[str, Any]:
    is_user = fields.pop("user", False)
    return {"messageId": key, "parentMessageId": parent, "conversationId": "lc", "sender": "x", "text": text,
            "isCreatedByUser": is_user, "error": False, "unfinished": False,
            "createdAt": "2024-05-01T16:35:11.530Z", **fields}  # fmt: skip


LIBRE_HEAD = {"conversationId": "lc", "endpoint": "openAI", "title": "Colours",
              "exportAt": "13:18:04 GMT-0400 (Eastern Daylight Time)",
              "options": {"model": "gpt-4", "promptPrefix": "Be brief."}}  # fmt: skip
LIBRE_FLAT = {**LIBRE_HEAD, "branches": True, "recursive": False, "messages": [
    libre("1", ZEROS, "Name a colour.", user=True),
    libre("2", "1", "Seven.", model="gpt-4", feedback={"rating": "thumbsDown", "tag": {"key": "inaccurate"}, "text": "no"}),
    libre("3", "1", "", model="gpt-4", content=[
        {"type": "think", "think": "Colours."}, {"type": "text", "text": {"value": "Red."}}],
        feedback={"rating": "thumbsUp", "tag": "accurate"}),
    libre("4", "3", "Time?", user=True),
    libre("5", "4", "", content=[
        {"type": "tool_call", "tool_call": {"id": "t", "name": "clock", "args": "{}", "output": "ten", "type": "tool_call"}},
        {"type": "text", "text": "Ten."}]),
    libre("6", "5", ":::thinking\nHm.\n:::\nWel", unfinished=True),
]}  # fmt: skip
LIBRE_TREE = {**LIBRE_HEAD, "branches": True, "recursive": True, "messages": [
    {**libre("1", ZEROS, "Name a colour.", user=True), "children": [
        {**libre("2", "1", "Seven."), "children": []},
        {**libre("3", "1", "Red."), "children": [{**libre("4", "3", "Thanks", user=True), "children": []}]}]}]}  # fmt: skip
LIBRE_NESTED = {key: value for key, value in LIBRE_TREE.items() if key != "messages"} | {
    "messagesTree": LIBRE_TREE["messages"]
}
LIBRE_CSV = b"""sender,text,isCreatedByUser,error,unfinished,messageId,parentMessageId,createdAt
User,"Name a
colour.",true,false,false,1,00000000-0000-0000-0000-000000000000,2024-05-01T16:35:11.530Z
GPT-4,Red.,false,false,false,2,1,2024-05-01T16:35:12.530Z
"""

# SillyTavern

TAVERN = lines(
    {"user_name": "Ann", "character_name": "Bot", "create_date": "2024-05-01@10h00m05s",
     "chat_metadata": {"integrity": "st-1"}},
    {"name": "Bot", "is_user": False, "is_system": False, "send_date": "May 1, 2024 10:00am", "mes": "Hello {{user}}.",
     "swipes": ["Hello {{user}}.", "Hi."], "swipe_id": 0},
    {"name": "Ann", "is_user": True, "is_system": False, "send_date": "2024-05-01T10:01:00.000Z", "mes": "A colour?"},
    {"name": "Note", "is_user": False, "is_system": True, "send_date": "", "mes": "hidden"},
    {"name": "Bot", "is_user": False, "is_system": False, "send_date": 1714557600000, "mes": "Red.",
     "swipes": ["Seven.", "Red.", ""], "swipe_id": 1,
     "swipe_info": [{"send_date": "", "extra": {"model": "m1"}}, {"extra": {}}, {"extra": {}}],
     "extra": {"model": "m2", "reasoning": "Colours."}},
)  # fmt: skip
TAVERN_OLD = lines(
    {"user_name": "You", "character_name": "Bot", "create_date": "2023-1-2 @10h 3m 5s 99ms"},
    {"name": "You", "is_user": True, "send_date": "2023-1-2 @10h 3m 6s 1ms", "mes": "Hi"},
    {"name": "Bot", "is_user": False, "send_date": "2023-1-2 @10h 3m 7s 2ms", "mes": "Hello"},
)

# Tables

CSV_PAIRS = '\ufeffPrompt;Response;Rating\nHi;Hello;up\n"What; is\nthis?";A table.;3\n;;\n'.encode()
CSV_QA = b"question\tanswer\tsystem\nWhy?\tBecause.\tBe brief.\n"
CSV_ROLES = b"role,content\nsystem,Be brief.\nuser,Hi\nassistant,Hello\nuser,Bye\nassistant,Bye\nsystem,B\nuser,Q\nassistant,A\n"
CSV_GROUPS = b"conversation_id,role,content,timestamp\n1,user,Q1,2024-05-01\n1,assistant,A1,2024-05-01\n2,user,Q2,\n2,assistant,A2,\n1,user,Q3,\n1,bot,A3,\n"

# Our own

OWN_LOG = lines(
    {"user_message": "Hi", "bot_response": "Hello", "session_id": "s", "timestamp": "", "metadata": {},
     "message_ids": ["q", "a"], "schema": "ft-turn/1"},
    {"id": "f", "conversation_id": "s", "message_id": "a", "kind": "thumb", "value": 1, "schema": "ft-feedback/1"},
)  # fmt: skip
OWN_INSTRUCTION = lines({"instruction": "Hi", "response": "Hello", "system": "", "history": []})


def _zip(path: Path, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.json", content)


def _llm_oldest(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("""
        CREATE TABLE _llm_migrations (name TEXT PRIMARY KEY, applied_at TEXT);
        CREATE TABLE log (id INTEGER PRIMARY KEY, provider TEXT, system TEXT, prompt TEXT, chat_id TEXT,
                          response TEXT, model TEXT, timestamp TEXT);
        INSERT INTO log VALUES (1, '', 'Be brief.', 'Hi', NULL, 'Hello', 'm', '2023-05-01T10:00:00'),
                               (2, '', NULL, 'Why?', 1, 'Because.', 'm', ''), (3, '', NULL, 'So?', 1, 'So.', 'm', '');
    """)
    connection.close()


def _llm_responses(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("""
        CREATE TABLE conversations (id TEXT PRIMARY KEY, name TEXT, model TEXT);
        CREATE TABLE responses (id TEXT PRIMARY KEY, model TEXT, prompt TEXT, system TEXT, prompt_json TEXT,
            options_json TEXT, response TEXT, response_json TEXT, conversation_id TEXT, duration_ms INTEGER,
            datetime_utc TEXT, reasoning TEXT);
        CREATE TABLE fragments (id INTEGER PRIMARY KEY, content TEXT);
        CREATE TABLE prompt_fragments (response_id TEXT, fragment_id INTEGER, "order" INTEGER);
        INSERT INTO conversations VALUES ('c1', 'Greeting', 'm');
        INSERT INTO responses VALUES
            ('r1', 'm', 'Hi', 'Be brief.', NULL, '{}', 'Hello', '{}', 'c1', 5, '2024-05-01T10:00:00+00:00', 'Greet.'),
            ('r2', 'm', 'Bye', 'Be brief.', NULL, '{}', 'Bye', '{}', 'c1', 5, '2024-05-01T10:01:00+00:00', NULL),
            ('r3', 'm', 'Alone', NULL, NULL, '{}', 'Yes', '{}', NULL, 5, '2024-05-01T10:02:00+00:00', NULL);
        INSERT INTO fragments VALUES (1, 'A long text.');
        INSERT INTO prompt_fragments VALUES ('r2', 1, 0);
    """)
    connection.close()


def _llm_threads(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("""
        CREATE TABLE messages (hash TEXT PRIMARY KEY, parent_hash TEXT, role TEXT, provider_metadata TEXT);
        CREATE TABLE parts (id INTEGER PRIMARY KEY, message_hash TEXT, position INTEGER, type TEXT, tool_name TEXT,
                            text TEXT, payload TEXT);
        CREATE TABLE fragments (id INTEGER PRIMARY KEY, content TEXT);
        CREATE TABLE threads (id TEXT PRIMARY KEY, name TEXT, tip_message_hash TEXT, forked_from TEXT, datetime_utc TEXT);
        CREATE TABLE turns (id TEXT PRIMARY KEY, thread_id TEXT, model TEXT);
        INSERT INTO messages VALUES ('h1', NULL, 'system', NULL), ('h2', 'h1', 'user', NULL),
            ('h3', 'h2', 'assistant', NULL), ('h4', 'h3', 'tool', NULL), ('h5', 'h4', 'assistant', NULL);
        INSERT INTO fragments VALUES (1, 'the clock');
        INSERT INTO parts VALUES (1, 'h1', 0, 'text', NULL, 'Be brief.', NULL),
            (2, 'h2', 0, 'text', NULL, NULL, '{"text_ref": [{"literal": "Read "}, {"fragment": 1}]}'),
            (3, 'h3', 0, 'reasoning', NULL, 'A tool.', NULL),
            (4, 'h3', 1, 'tool_call', 'clock', NULL, '{"name": "clock", "arguments": {}, "tool_call_id": "t"}'),
            (5, 'h4', 0, 'tool_result', 'clock', NULL, '{"name": "clock", "output": "ten", "tool_call_id": "t"}'),
            (6, 'h5', 0, 'text', NULL, 'Ten.', NULL);
        INSERT INTO threads VALUES ('t1', 'Clock', 'h5', NULL, '2026-10-01 10:00:00+00:00'),
                                   ('t2', 'Fork', 'h2', 't1', '2026-10-01 10:00:00+00:00');
        INSERT INTO turns VALUES ('u1', 't1', 'm');
    """)
    connection.close()


def _bytes(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


EXPORTS: dict[str, Callable[[Path], None]] = {
    "openai.jsonl": _bytes(lines(*OPENAI)),
    "openai-array.json": _bytes(array(*OPENAI)),
    "openai-one-object.json": _bytes(json.dumps(OPENAI[0], indent=1).encode()),
    "preference.jsonl": _bytes(lines(*PREFERENCES)),
    "preference-kto.jsonl": _bytes(lines(*KTO)),
    "sharegpt.json": _bytes(array(*SHAREGPT)),
    "sharegpt.jsonl": _bytes(b"\xef\xbb\xbf" + lines(*SHAREGPT)),
    "alpaca.json": _bytes(array(*ALPACA)),
    "alpaca.jsonl": _bytes(lines(*ALPACA)),
    "chatgpt.json": _bytes(json.dumps([CHATGPT_BRANCHES, CHATGPT_RICH]).encode()),
    "chatgpt.zip": lambda path: _zip(
        path, conversations=json.dumps([CHATGPT_BRANCHES]).encode(), message_feedback=array(*CHATGPT_THUMBS),
        user=b'{"id": "me"}',
    ),
    "claude.json": _bytes(array(CLAUDE_OLD, CLAUDE_BLOCKS)),
    "claude-account.json": _bytes(json.dumps({"account": {"uuid": "me"}, "conversations": [CLAUDE_OLD]}).encode()),
    "claude.zip": lambda path: _zip(path, conversations=array(CLAUDE_OLD), users=array({"uuid": "me"})),
    "open-webui.json": _bytes(array(WEBUI_WRAPPED)),
    "open-webui-bare.json": _bytes(json.dumps(WEBUI_CHAT).encode()),
    "open-webui-feedback.json": _bytes(array(*WEBUI_FEEDBACK)),
    "anything-llm.json": _bytes(array(*ANYTHING)),
    "anything-llm.csv": _bytes(ANYTHING_CSV),
    "librechat.json": _bytes(json.dumps(LIBRE_FLAT).encode()),
    "librechat-tree.json": _bytes(json.dumps(LIBRE_TREE, indent=2).encode()),
    "librechat-nested.json": _bytes(json.dumps(LIBRE_NESTED).encode()),
    "librechat.csv": _bytes(LIBRE_CSV),
    "silly-tavern.jsonl": _bytes(TAVERN),
    "silly-tavern-old.jsonl": _bytes(TAVERN_OLD),
    "csv-pairs.csv": _bytes(CSV_PAIRS),
    "csv-questions.tsv": _bytes(CSV_QA),
    "csv-roles.csv": _bytes(CSV_ROLES),
    "csv-groups.csv": _bytes(CSV_GROUPS),
    "llm-oldest.db": _llm_oldest,
    "llm.db": _llm_responses,
    "llm-threads.db": _llm_threads,
    "fine-tuning.jsonl": _bytes(OWN_LOG),
    "fine-tuning-instruction.jsonl": _bytes(OWN_INSTRUCTION),
    **PROGRAM_EXPORTS,
}  # fmt: skip
"""How to write each file, by its name."""


def importer_of(name: str) -> str:
    """Return the importer that must read a file of this name."""
    stem = name.partition(".")[0]
    return max((known for known in IMPORTERS if stem.startswith(known)), key=len)
