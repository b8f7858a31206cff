"""The schema of the conversation database, as numbered steps that are never edited again.

``PRAGMA user_version`` holds how many were applied. A new step is appended to :data:`MIGRATIONS`
with an upgrade test; content is append-only, so no step rewrites what a person said.
"""

from __future__ import annotations

APPLICATION_ID = 0x66743031
"""Marks a file as ours in ``PRAGMA application_id`` ("ft01"), so that no foreign one is touched."""

_FIRST = """
CREATE TABLE conversation (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    source TEXT NOT NULL,
    source_ref TEXT NOT NULL DEFAULT '',
    title TEXT NOT NULL DEFAULT '',
    current_leaf TEXT,
    created_at TEXT NOT NULL DEFAULT '',
    meta TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(meta))
) STRICT;

CREATE UNIQUE INDEX conversation_source ON conversation (source, source_ref)
    WHERE source_ref <> '';

CREATE TABLE message (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    conversation_id TEXT NOT NULL REFERENCES conversation (id) ON DELETE CASCADE,
    parent_id TEXT,
    role TEXT NOT NULL CHECK (role IN ('system', 'developer', 'user', 'assistant', 'tool')),
    content TEXT NOT NULL CHECK (json_valid(content)),
    name TEXT NOT NULL DEFAULT '',
    tool_calls TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(tool_calls)),
    tool_call_id TEXT NOT NULL DEFAULT '',
    reasoning TEXT NOT NULL DEFAULT '',
    model TEXT NOT NULL DEFAULT '',
    status TEXT NOT NULL CHECK (status IN ('streaming', 'complete', 'aborted', 'error')),
    weight INTEGER NOT NULL CHECK (weight IN (0, 1)),
    created_at TEXT NOT NULL DEFAULT '',
    meta TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(meta)),
    UNIQUE (conversation_id, id),
    FOREIGN KEY (conversation_id, parent_id) REFERENCES message (conversation_id, id)
) STRICT;

CREATE INDEX message_order ON message (conversation_id, seq);
CREATE INDEX message_parent ON message (conversation_id, parent_id);

CREATE TABLE feedback (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    conversation_id TEXT NOT NULL,
    message_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('thumb', 'rating', 'correction', 'choice')),
    value INTEGER NOT NULL DEFAULT 0,
    text TEXT NOT NULL DEFAULT '',
    rejected_id TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    comment TEXT NOT NULL DEFAULT '',
    created_at TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE INDEX feedback_message ON feedback (conversation_id, message_id);
"""

MIGRATIONS: tuple[str, ...] = (_FIRST,)
"""Step ``n`` (counted from 1) takes a database from version ``n - 1`` to ``n``."""
