"""From a model to its conversations and back; differences; what must be trained anew."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tuning.core.errors import DataError, ModelNotFoundError
from fine_tuning.core.json_value import JsonObject
from fine_tuning.model_management.alias_history import AliasHistory
from fine_tuning.model_management.lineage import Lineage, Use
from fine_tuning.model_management.registry_schema import APPLICATION_ID, MIGRATIONS
from tests.model_management.registered import new_version, point, register, registry

FIRST = {"train": ["c1", "c2"], "validation": ["c3"], "test": ["c4"]}
SECOND = {"train": ["c2", "c5"], "validation": [], "test": ["c1"]}


def two_versions(home: Path, **others: object) -> Lineage:
    register(home, "run1", conversations=FIRST, settings={"plan": {"rank": 8, "epochs": 3}})
    register(home, "run2", conversations=SECOND, settings={"plan": {"rank": 16}}, **others)
    return Lineage(registry(home))


def test_from_a_model_to_its_conversations(tmp_path: Path) -> None:
    lineage = two_versions(tmp_path)
    registry(tmp_path).deployments.record("support:1", "embedded", "served", digest="d")
    for name in ("support:1", "served", "run1"):
        found = lineage.conversations(name)
        split = {one.conversation_id: one.split for one in found}
        assert split == {"c1": "train", "c2": "train", "c3": "validation", "c4": "test"}
        assert {(one.dataset, one.via) for one in found} == {("b2:data-run1", "support:1")}
    with pytest.raises(ModelNotFoundError):
        lineage.conversations("nobody")


def test_from_a_conversation_to_the_models(tmp_path: Path) -> None:
    lineage = two_versions(tmp_path)
    found = {one: {(u.version, u.split) for u in lineage.uses(one)} for one in ("c1", "c2", "c4")}
    assert found == {
        "c1": {("support:1", "train"), ("support:2", "test")},
        "c2": {("support:1", "train"), ("support:2", "train")},
        "c4": {("support:1", "test")},
    }
    assert lineage.uses("unheard") == []
    assert lineage.datasets("c5") == {"b2:data-run2": "train"}


def test_a_version_knows_what_its_parents_learnt(tmp_path: Path) -> None:
    lineage = two_versions(tmp_path, parents=["support:1"])
    register(tmp_path, "run3", conversations={"train": ["c9"]}, parents=["support:2", "support:1"])
    assert {one.conversation_id for one in lineage.conversations("support:3")} == {
        "c1", "c2", "c3", "c4", "c5", "c9",
    }  # fmt: skip
    assert Use(
        version="support:3", dataset="b2:data-run1", split="validation", via="support:1"
    ) in lineage.uses("c3")
    assert {use.version for use in lineage.uses("c9")} == {"support:3"}
    assert registry(tmp_path).find("support:3").parents == ("support:1", "support:2")


def test_what_was_in_use_is_a_parent_that_teaches_nothing(tmp_path: Path) -> None:
    register(tmp_path, "run1", conversations=FIRST)
    books = registry(tmp_path)
    early = books.now()
    point(AliasHistory(books, "embedded"), "support:1")
    found = register(tmp_path, "run2", conversations={"train": ["c9"]})
    assert (found.parents, found.started_from) == (("support:1",), ())
    assert "support:1 (in use when it was trained); it started from the base" in found.parent_words
    lineage = Lineage(books)
    assert [one.conversation_id for one in lineage.conversations("support:2")] == ["c9"]
    assert {use.version for use in lineage.uses("c1")} == {"support:1"}
    assert register(tmp_path, "run3", trained_at=early).parents == (), "it was trained before"
    both = register(tmp_path, "run4", parents=["support:2", "support:1"])
    assert both.parents == both.started_from == ("support:1", "support:2")
    assert lineage.diff("support:1", "support:2").parents == ((), ("support:1",))
    point(AliasHistory(books, "embedded"), "", back=True)
    assert register(tmp_path, "run5").parents == (), "the base was in use"


def test_a_registry_of_before_learns_who_was_in_use(tmp_path: Path) -> None:
    register(tmp_path, "run1")
    point(AliasHistory(registry(tmp_path), "embedded"), "support:1")
    register(tmp_path, "run2")
    made = registry(tmp_path)
    with made.database.reading() as connection:
        tables = [row[0] for row in connection.execute("SELECT sql FROM sqlite_schema")]
        rows = {
            name: connection.execute(f"SELECT * FROM {name}").fetchall()  # noqa: S608 - ours
            for name in ("version", "switching")
        }
    made.close()
    old = tmp_path / "old" / "models" / "registry.db"
    old.parent.mkdir(parents=True)
    connection = apsw.Connection(str(old))
    connection.execute(MIGRATIONS[0]).fetchall()
    for name, values in rows.items():
        marks = ", ".join("?" * len(values[0]))
        connection.executemany(f"INSERT INTO {name} VALUES ({marks})", values)  # noqa: S608 - ours
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", 1)
    connection.close()
    upgraded = registry(tmp_path / "old")
    assert [one.parents for one in upgraded.versions()] == [(), ("support:1",)]
    assert upgraded.find("support:2").started_from == ()
    with upgraded.database.reading() as connection:
        assert {row[0] for row in connection.execute("SELECT sql FROM sqlite_schema")} == set(
            tables
        )


def test_a_proof_of_an_earlier_version_keeps_its_server(tmp_path: Path) -> None:
    register(tmp_path, "run1")
    proof: JsonObject = {"holds": True, "decisions": {"server": "Ollama 0.24.0"}}
    made = registry(tmp_path)
    made.deployments.record("support:1", "ollama", "s:1", digest="d", proof=proof)
    made.deployments.record("support:1", "embedded", "s:1", digest="d", proof={"holds": True})
    with made.database.writing() as connection:
        connection.pragma("user_version", len(MIGRATIONS) - 1)
    made.close()
    kept = {one.runtime: one.proof for one in registry(tmp_path).find("support:1").deployments}
    assert kept == {
        "ollama": {**proof, "terms": {"server": "Ollama 0.24.0"}},
        "embedded": {"holds": True},
    }


def test_the_beginning_of_an_id_is_enough(tmp_path: Path) -> None:
    register(tmp_path, "run1", conversations={"train": ["abc", "abd", "ab", "x%y", "x_z"]})
    lineage = Lineage(registry(tmp_path))
    assert [lineage.conversation_id(one) for one in ("abc", "ab", "x%", "x_z")] == [
        "abc", "ab", "x%y", "x_z",
    ]  # fmt: skip
    for beginning, words in (("abz", "no data set holds"), ("a", "others fit"), ("%", "no data")):
        with pytest.raises(DataError, match=words):
            lineage.conversation_id(beginning)


def test_what_learnt_from_a_forgotten_conversation_is_marked_once(tmp_path: Path) -> None:
    lineage = two_versions(tmp_path)
    registry(tmp_path).archive("support:2")
    assert lineage.mark_for_retraining("c4", "only tested on") == []
    assert lineage.mark_for_retraining("c2", "asked to forget") == ["support:1", "support:2"]
    assert lineage.mark_for_retraining("c2", "again") == ["support:1", "support:2"]
    (mark,) = registry(tmp_path).find("support:1").retraining
    assert (mark.conversation_id, mark.reason) == ("c2", "asked to forget")
    assert [version.name for version in lineage.to_retrain()] == ["support:1"]
    kinds = [event.kind for event in registry(tmp_path).history()]
    assert kinds.count("to retrain") == 2


def test_data_sets_without_a_version_are_known_too(tmp_path: Path) -> None:
    lineage = Lineage(registry(tmp_path))
    lineage.record_dataset("b2:x", {"train": ["c1"], "test": ["c2"]})
    lineage.record_dataset("b2:x", {"train": ["c1"], "test": ["c2"]})
    assert lineage.datasets("c2") == {"b2:x": "test"}
    assert lineage.known_datasets() == {"b2:x"}
    assert lineage.uses("c2") == []


def test_the_difference_of_two_versions(tmp_path: Path) -> None:
    lineage = two_versions(tmp_path, metrics={"last_loss": 1.0})
    found = lineage.diff("support:1", "latest")
    assert (found.first, found.second) == ("support:1", "support:2")
    assert found.base is None
    assert found.snapshot == ("b2:data-run1", "b2:data-run2")
    assert (found.num_shared, found.added, found.removed) == (1, ("c5",), ("c1", "c3"))
    assert found.settings == {"plan.rank": (8, 16), "plan.epochs": (3, None)}
    assert found.metrics == {"last_loss": (None, 1.0)}
    same = lineage.diff("support:1", "support:1")
    assert (same.snapshot, same.added, same.removed, same.settings) == (None, (), (), {})
    register(tmp_path, "run3", base_name="other", base_digest="sha256:other")
    assert lineage.diff("support:1", "support:3").base == (
        f"embedded ({registry(tmp_path).find('support:1').base_digest})",
        "other (sha256:other)",
    )


@settings(max_examples=30)
@given(
    data=st.lists(
        st.tuples(
            st.dictionaries(
                st.sampled_from([f"c{i}" for i in range(6)]),
                st.sampled_from(["train", "validation", "test"]),
            ),
            st.sets(st.integers(0, 5)),
        ),
        max_size=6,
    )
)
def test_both_directions_say_the_same(
    tmp_path_factory: pytest.TempPathFactory, data: list[tuple[dict[str, str], set[int]]]
) -> None:
    home = tmp_path_factory.mktemp("home")
    books = registry(home)
    for number, (members, parents) in enumerate(data):
        by_split: dict[str, list[str]] = {}
        for conversation, split in members.items():
            by_split.setdefault(split, []).append(conversation)
        new = new_version(
            home,
            f"run{number}",
            conversations=by_split,
            parents=[f"support:{one + 1}" for one in sorted(parents) if one < number],
        )
        books.register(new)
    lineage = Lineage(books)
    forth = {
        (version.name, one.conversation_id, one.dataset, one.split, one.via)
        for version in books.versions()
        for one in lineage.conversations(version.name)
    }
    back = {
        (use.version, conversation, use.dataset, use.split, use.via)
        for conversation in {one[1] for one in forth} | {f"c{i}" for i in range(6)}
        for use in lineage.uses(conversation)
    }
    assert forth == back
    books.close()
