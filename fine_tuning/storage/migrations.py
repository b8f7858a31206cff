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

_ANNOTATIONS = """
ALTER TABLE feedback RENAME TO annotation;
ALTER TABLE annotation ADD COLUMN annotator_kind TEXT NOT NULL DEFAULT 'human'
    CHECK (annotator_kind IN ('human', 'model', 'code'));
ALTER TABLE annotation ADD COLUMN annotator TEXT NOT NULL DEFAULT '';
"""
"""Feedback of persons, models and rules, kept apart. A correction is a revision of its message; a
correction or a choice is a preference pair: the texts stand in the tree and are not copied."""

_RECORDS = """
CREATE TABLE run (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('import', 'clean', 'prepare')),
    settings TEXT NOT NULL CHECK (json_valid(settings)),
    stats TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(stats)),
    started_at TEXT NOT NULL,
    finished_at TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE step (
    run_id TEXT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    num_in INTEGER NOT NULL,
    num_changed INTEGER NOT NULL,
    num_dropped INTEGER NOT NULL,
    cpu_s REAL NOT NULL,
    PRIMARY KEY (run_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE drop_entry (
    seq INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    conversation_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE INDEX drop_run ON drop_entry (run_id);
CREATE INDEX drop_conversation ON drop_entry (conversation_id);

CREATE TABLE dataset (
    seq INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    base_model TEXT NOT NULL,
    run_id TEXT NOT NULL DEFAULT '',
    created_at TEXT NOT NULL,
    replaced_by TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE blob (
    sha256 TEXT PRIMARY KEY,
    mime TEXT NOT NULL,
    size_bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE blob_use (
    sha256 TEXT NOT NULL REFERENCES blob (sha256),
    conversation_id TEXT NOT NULL,
    PRIMARY KEY (sha256, conversation_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX blob_conversation ON blob_use (conversation_id);
"""
"""What was done with conversations: runs with their steps, why each one left, the data sets
made, and the attachments they hold. Which conversations a data set holds, its own manifest says."""

_REVIEWS = """
ALTER TABLE annotation RENAME TO annotation_before;
CREATE TABLE annotation (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    conversation_id TEXT NOT NULL,
    message_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN
        ('thumb', 'rating', 'correction', 'choice', 'review', 'consent', 'title')),
    value INTEGER NOT NULL DEFAULT 0,
    text TEXT NOT NULL DEFAULT '',
    rejected_id TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    comment TEXT NOT NULL DEFAULT '',
    created_at TEXT NOT NULL DEFAULT '',
    annotator_kind TEXT NOT NULL DEFAULT 'human'
        CHECK (annotator_kind IN ('human', 'model', 'code')),
    annotator TEXT NOT NULL DEFAULT ''
) STRICT;
INSERT INTO annotation (seq, id, conversation_id, message_id, kind, value, text, rejected_id,
    reason, comment, created_at, annotator_kind, annotator)
SELECT seq, id, conversation_id, message_id, kind, value, text, rejected_id,
    reason, comment, created_at, annotator_kind, annotator FROM annotation_before;
DROP TABLE annotation_before;
CREATE INDEX feedback_message ON annotation (conversation_id, message_id);
"""
"""Reviews, consent and names of whole conversations; SQLite changes what a column accepts only by a
new table."""

MIGRATIONS: tuple[str, ...] = (_FIRST, _ANNOTATIONS, _RECORDS, _REVIEWS)
"""Step ``n`` (counted from 1) takes a database from version ``n - 1`` to ``n``."""
