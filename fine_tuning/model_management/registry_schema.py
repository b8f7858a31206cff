"""The schema of the model registry, as numbered steps that are never edited again.

``PRAGMA user_version`` holds how many were applied; a new step is appended to :data:`MIGRATIONS`
with an upgrade test. Versions, events and switchings are only ever added, so that numbers are never
used twice and the past can be told.
"""

from __future__ import annotations

APPLICATION_ID = 0x66746D72
"""Marks a file as a registry of ours in ``PRAGMA application_id`` ("ftmr")."""

_FIRST = """
CREATE TABLE version (
    id INTEGER PRIMARY KEY,
    family TEXT NOT NULL,
    number INTEGER NOT NULL CHECK (number > 0),
    stage TEXT NOT NULL CHECK (stage IN ('champion', 'challenger', 'archived')),
    run_id TEXT NOT NULL,
    run_folder TEXT NOT NULL,
    method TEXT NOT NULL,
    adapter_name TEXT NOT NULL,
    base_name TEXT NOT NULL,
    base_digest TEXT NOT NULL,
    snapshot TEXT NOT NULL,
    settings TEXT NOT NULL CHECK (json_valid(settings)),
    metrics TEXT NOT NULL CHECK (json_valid(metrics)),
    verdict TEXT NOT NULL CHECK (json_valid(verdict)),
    created_at TEXT NOT NULL,
    UNIQUE (family, number),
    UNIQUE (family, run_id, adapter_name)
) STRICT;

CREATE UNIQUE INDEX version_champion ON version (family) WHERE stage = 'champion';
CREATE INDEX version_snapshot ON version (snapshot);

CREATE TABLE parent (
    version_id INTEGER NOT NULL REFERENCES version (id),
    parent_id INTEGER NOT NULL REFERENCES version (id),
    PRIMARY KEY (version_id, parent_id),
    CHECK (parent_id < version_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE artefact (
    id INTEGER PRIMARY KEY,
    version_id INTEGER NOT NULL REFERENCES version (id),
    kind TEXT NOT NULL,
    path TEXT NOT NULL,
    digest TEXT NOT NULL,
    size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
    state TEXT NOT NULL CHECK (state IN ('present', 'removing', 'removed')),
    created_at TEXT NOT NULL,
    UNIQUE (version_id, path)
) STRICT;

CREATE INDEX artefact_path ON artefact (path);

CREATE TABLE deployment (
    id INTEGER PRIMARY KEY,
    version_id INTEGER NOT NULL REFERENCES version (id),
    runtime TEXT NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('begun', 'active', 'undone', 'retired')),
    digest TEXT NOT NULL DEFAULT '',
    details TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(details)),
    proof TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(proof)),
    reason TEXT NOT NULL DEFAULT '',
    created_at TEXT NOT NULL,
    ended_at TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE UNIQUE INDEX deployment_active ON deployment (runtime, name) WHERE state = 'active';
CREATE INDEX deployment_version ON deployment (version_id);

CREATE TABLE member (
    dataset TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    split TEXT NOT NULL,
    PRIMARY KEY (dataset, conversation_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX member_conversation ON member (conversation_id);

CREATE TABLE note (
    id INTEGER PRIMARY KEY,
    version_id INTEGER NOT NULL REFERENCES version (id),
    text TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE retraining (
    version_id INTEGER NOT NULL REFERENCES version (id),
    conversation_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (version_id, conversation_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    family TEXT NOT NULL,
    version_id INTEGER REFERENCES version (id),
    kind TEXT NOT NULL,
    detail TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;

CREATE INDEX event_family ON event (family, id);

CREATE TABLE switching (
    id INTEGER PRIMARY KEY,
    family TEXT NOT NULL,
    runtime TEXT NOT NULL,
    alias TEXT NOT NULL,
    action TEXT NOT NULL CHECK (action IN ('start', 'switch', 'rollback')),
    version_id INTEGER REFERENCES version (id),
    target TEXT NOT NULL,
    digest TEXT NOT NULL,
    before_id INTEGER REFERENCES switching (id),
    state TEXT NOT NULL CHECK (state IN ('begun', 'done', 'undone')),
    created_at TEXT NOT NULL,
    ended_at TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE UNIQUE INDEX switching_open ON switching (runtime, alias) WHERE state = 'begun';

CREATE TABLE pointer (
    runtime TEXT NOT NULL,
    alias TEXT NOT NULL,
    switching_id INTEGER NOT NULL REFERENCES switching (id),
    PRIMARY KEY (runtime, alias)
) STRICT, WITHOUT ROWID;

CREATE VIEW pointing AS
    SELECT pointer.runtime, pointer.alias, switching.id AS switching_id, switching.family,
           switching.version_id, switching.target, switching.digest, switching.before_id
    FROM pointer JOIN switching ON switching.id = pointer.switching_id;

CREATE TABLE traffic (
    runtime TEXT NOT NULL,
    alias TEXT NOT NULL,
    family TEXT NOT NULL,
    version_id INTEGER NOT NULL REFERENCES version (id),
    target TEXT NOT NULL,
    share REAL NOT NULL CHECK (share > 0 AND share < 1),
    salt TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (runtime, alias)
) STRICT, WITHOUT ROWID;
"""

_KINDS_OF_PARENTS = """
ALTER TABLE parent ADD COLUMN kind TEXT NOT NULL DEFAULT 'weights'
    CHECK (kind IN ('weights', 'in use'));

INSERT OR IGNORE INTO parent (version_id, parent_id, kind)
SELECT id, before_it, 'in use' FROM (
    SELECT version.id, (
        SELECT version_id FROM switching
        WHERE family = version.family AND state = 'done' AND action <> 'start'
            AND ended_at <= version.created_at
        ORDER BY ended_at DESC, id DESC LIMIT 1
    ) AS before_it FROM version
) WHERE before_it IS NOT NULL;
"""

_OWNERS = """
CREATE TABLE owned_name (
    runtime TEXT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (runtime, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE workspace (mark TEXT NOT NULL) STRICT;
INSERT INTO workspace (mark) VALUES (lower(hex(randomblob(4))));

CREATE TABLE spelling (old TEXT NOT NULL, new TEXT NOT NULL) STRICT;
INSERT INTO spelling SELECT runtime, rtrim(runtime, '/') FROM (
    SELECT runtime FROM deployment UNION SELECT runtime FROM switching
    UNION SELECT runtime FROM pointer UNION SELECT runtime FROM traffic
) WHERE runtime LIKE 'ollama http%';
UPDATE spelling SET new = lower(new) WHERE instr(substr(new, instr(new, '://') + 3), '/') = 0;
UPDATE spelling SET new = CASE instr(substr(new, instr(new, '://') + 3), '/')
    WHEN 0 THEN new || iif(new LIKE 'ollama https%', ':443', ':80')
    ELSE substr(new, 1, instr(new, '://') + 1 + instr(substr(new, instr(new, '://') + 3), '/'))
        || iif(new LIKE 'ollama https%', ':443', ':80')
        || substr(new, instr(new, '://') + 2 + instr(substr(new, instr(new, '://') + 3), '/')) END
WHERE new NOT GLOB '*://*:[0-9]*';
UPDATE spelling SET new = replace(replace(replace(replace(new, '//127.0.0.1:', '//localhost:'),
    '//[::1]:', '//localhost:'), '//0.0.0.0:', '//localhost:'), '//[::]:', '//localhost:');
DELETE FROM spelling WHERE old NOT IN (
    SELECT old FROM spelling WHERE new IN (SELECT new FROM spelling WHERE old <> new)
);
UPDATE deployment SET state = 'retired' WHERE state = 'active'
    AND runtime IN (SELECT old FROM spelling) AND id NOT IN (
        SELECT max(id) FROM deployment JOIN spelling ON old = runtime
        WHERE state = 'active' GROUP BY new, name);
DELETE FROM pointer WHERE runtime IN (SELECT old FROM spelling) AND switching_id NOT IN (
    SELECT max(switching_id) FROM pointer JOIN spelling ON old = runtime GROUP BY new, alias);
UPDATE deployment SET runtime = (SELECT new FROM spelling WHERE old = runtime)
    WHERE runtime IN (SELECT old FROM spelling);
UPDATE OR IGNORE switching SET runtime = (SELECT new FROM spelling WHERE old = runtime)
    WHERE runtime IN (SELECT old FROM spelling);
UPDATE pointer SET runtime = (SELECT new FROM spelling WHERE old = runtime)
    WHERE runtime IN (SELECT old FROM spelling);
UPDATE OR REPLACE traffic SET runtime = (SELECT new FROM spelling WHERE old = runtime)
    WHERE runtime IN (SELECT old FROM spelling);
DROP TABLE spelling;

INSERT OR REPLACE INTO owned_name (runtime, name, digest, created_at)
    SELECT runtime, lower(target), digest, created_at FROM switching
    WHERE state = 'done' AND version_id IS NULL AND digest <> '' AND lower(target) LIKE '%:base';
INSERT OR REPLACE INTO owned_name (runtime, name, digest, created_at)
    SELECT runtime, lower(name), digest, created_at FROM deployment
    WHERE state = 'active' AND digest <> '';
INSERT OR REPLACE INTO owned_name (runtime, name, digest, created_at)
    SELECT runtime, lower(alias), digest, created_at FROM switching
    WHERE digest <> '' AND id IN (SELECT switching_id FROM pointer);
"""
"""Who owns which name on a runtime; and one spelling for each server's address."""

_TERMS = """
UPDATE deployment SET proof = json_set(
    proof, '$.terms', json_object('server', json_extract(proof, '$.decisions.server'))
) WHERE json_extract(proof, '$.decisions.server') LIKE 'Ollama %'
    AND json_extract(proof, '$.terms') IS NULL;
"""
"""What a proof holds for: of earlier ones only the server is known, so that they are made again."""

MIGRATIONS: tuple[str, ...] = (_FIRST, _KINDS_OF_PARENTS, _OWNERS, _TERMS)
"""Step ``n`` (counted from 1) takes a registry from version ``n - 1`` to ``n``."""
