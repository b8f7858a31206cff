from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import apsw
import pytest

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import StorageError
from fine_tuning.storage import database
from fine_tuning.storage.migrations import MIGRATIONS
from fine_tuning.storage.open_store import open_store
from fine_tuning.storage.sqlite_store import PAGE_CONVERSATIONS, SqliteConversationStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chats.db"


def straight(name: str) -> Conversation:
    return Conversation.from_turns([("user", "q " + name), ("assistant", "a")], id=name)


def test_settings_are_the_safe_ones(path: Path) -> None:
    SqliteConversationStore(path).append(straight("c"))
    connection = apsw.Connection(str(path))
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("user_version") == len(MIGRATIONS)
    assert connection.pragma("integrity_check") == "ok"
    store = SqliteConversationStore(path)
    with store._database.reading() as own:
        assert own.pragma("synchronous") == 2, "FULL"
        assert own.pragma("foreign_keys") == 1
        assert own.pragma("secure_delete") == 1


def test_pages_keep_order_and_lose_nothing(path: Path) -> None:
    store = SqliteConversationStore(path)
    names = [f"{index:04}" for index in reversed(range(PAGE_CONVERSATIONS + 3))]
    for name in names:
        store.append(straight(name))
    assert [c.id for c in store.conversations()] == names


def test_a_locked_database_is_one_sentence(path: Path) -> None:
    store = SqliteConversationStore(path, busy_timeout_ms=50)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match=r"stayed locked by another process for 0\.05 s"):
        store.append(straight("c"))
    assert list(store.conversations()) == [], "reading goes on meanwhile"
    other.execute("ROLLBACK")
    store.append(straight("c"))
    assert len(list(store.conversations())) == 1


def test_a_newer_schema_is_refused_untouched(path: Path) -> None:
    SqliteConversationStore(path).close()
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StorageError, match="schema version 99") as caught:
        SqliteConversationStore(path)
    assert "upgrade" in caught.value.next_command
    assert path.read_bytes() == before


def test_a_foreign_database_is_refused_untouched(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StorageError, match="a database of another program"):
        SqliteConversationStore(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_one_sentence(path: Path) -> None:
    path.write_bytes(b'{"user_message": "hello"}\n' * 100)
    with pytest.raises(StorageError, match="no SQLite database"):
        SqliteConversationStore(path)


def test_a_damaged_page_is_one_sentence(path: Path) -> None:
    store = SqliteConversationStore(path)
    for index in range(200):
        store.append(straight(str(index)))
    store.close()
    content = bytearray(path.read_bytes())
    content[4096 : len(content)] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StorageError, match="damaged"):
        list(SqliteConversationStore(path).conversations())


def test_a_failed_append_writes_nothing(path: Path) -> None:
    store = SqliteConversationStore(path)
    connection = apsw.Connection(str(path))
    connection.execute(
        "CREATE TRIGGER t BEFORE INSERT ON message WHEN NEW.role = 'assistant' "
        "BEGIN SELECT RAISE(ABORT, 'no replies'); END"
    )
    with pytest.raises(StorageError, match="no replies"):
        store.append(straight("c"))
    assert list(store.conversations()) == []


def test_an_old_sqlite_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.40.1")
    with pytest.raises(StorageError, match=r"3\.40\.1, expected 3\.51\.3 or newer"):
        database.check_sqlite()


def test_threads_share_a_store(path: Path) -> None:
    store = SqliteConversationStore(path)

    def work(who: int) -> None:
        for index in range(25):
            store.append(straight(f"{who}-{index}"))

    threads = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(store.conversations())) == 100


def test_a_fork_uses_its_own_connection(path: Path) -> None:
    code = """
import os, sys
from fine_tuning.core.conversation import Conversation
from fine_tuning.storage.open_store import open_store
store = open_store(sys.argv[1])
def log(name):
    store.append(Conversation.from_turns([("user", name), ("assistant", "a")], id=name))
log("before")
child = os.fork()
for index in range(50):
    log(f"{'parent' if child else 'child'}{index}")
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(len(list(store.conversations())))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "101"


def test_processes_that_open_a_new_file_at_once_all_succeed(path: Path) -> None:
    code = (
        "import sys; from fine_tuning.storage.open_store import open_store; sys.stdin.read();"
        "[open_store(f'{sys.argv[1]}/{i}.db') for i in range(20)]"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path.parent)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        process.stdin.close()
    errors = [process.stderr.read() for process in processes]
    for process in processes:
        process.stderr.close()
    assert [process.wait() for process in processes] == [0] * 4, errors


@pytest.mark.parametrize("name", ["chats.txt", "chats", "chats.json"])
def test_another_suffix_is_refused_with_what_is_accepted(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError, match=r"expected one of \.jsonl, \.db, \.sqlite, \.sqlite3"):
        open_store(tmp_path / name)


@pytest.mark.parametrize("name", ["a.DB", "a.sqlite", "a.sqlite3"])
def test_database_suffixes(tmp_path: Path, name: str) -> None:
    assert isinstance(open_store(tmp_path / name), SqliteConversationStore)
