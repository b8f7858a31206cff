"""Splits that do not leak: what is tested was not trained on, by its text."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fine_tuning.core.conversation import Conversation, Role
from fine_tuning.data_preparation.clusters import name_clusters, own_cluster
from fine_tuning.data_preparation.conversation_removal import without_conversation
from fine_tuning.data_preparation.data_set_checks import data_set_findings
from fine_tuning.data_preparation.dataset_builder import DatasetBuilder, Ratios
from fine_tuning.data_preparation.manifest import facts_of
from fine_tuning.data_preparation.masking import TRUNCATIONS
from fine_tuning.data_preparation.snapshot import SPLITS, Record, Snapshot, write_snapshot
from tests.data_preparation.conftest import Ports

Exchanges = list[tuple[str, str]]
HELLO = ("hi", "Hello! How can I help?")


def chat(name: str, exchanges: Exchanges, **fields: object) -> Conversation:
    turns: list[tuple[Role, str]] = []
    for asked, said in exchanges:
        turns += [("user", asked), ("assistant", said)]
    return Conversation.from_turns(turns, id=name, **fields)


def own(number: int, count: int = 3) -> Exchanges:
    """Exchanges that no other number has."""
    return [
        (f"What is {number}.{n}?", f"It is {number * n + n} of {number}.") for n in range(count)
    ]


def spoken(record: Record, *, is_trained: bool) -> Iterator[str]:
    """Question and reply of every exchange, or of those trained on, without case and spaces."""
    messages = record.example.messages
    for place, message in enumerate(messages):
        if message.role == "assistant" and (not is_trained or place in record.example.targets):
            yield "".join(f"{messages[place - 1].text}|{message.text}".lower().split())


def leaks(snapshot: Snapshot) -> set[str]:
    """The held-out exchanges whose text stands in train."""
    train = {t for r in snapshot.split("train").records for t in spoken(r, is_trained=False)}
    held = (r for s in SPLITS[1:] for r in snapshot.split(s).records)
    return {text for record in held for text in spoken(record, is_trained=True)} & train


def split_of(snapshot: Snapshot) -> dict[str, str]:
    return {name: split for split, names in snapshot.conversation_ids.items() for name in names}


@pytest.fixture
def builder(chatml: Ports) -> DatasetBuilder:
    return DatasetBuilder(chatml.tokenizer, chatml.renderer)


def names(*conversations: Conversation) -> list[str]:
    return name_clusters(conversations, own_cluster)


def test_a_fork_a_clone_and_a_grown_chat_are_one_cluster() -> None:
    base = own(1)
    assert names(
        chat("a", base),
        chat("clone", base),
        chat("fork", [*base[:1], *own(2)]),
        chat("grown", [*base, *own(3)]),
        chat("written otherwise", [(asked.upper(), f" {said}\n") for asked, said in base[:1]]),
        chat("other", own(4)),
    ) == ["written otherwise"] * 5 + ["other"]


def test_the_oldest_names_a_cluster_and_what_grew_keeps_the_name() -> None:
    old = chat("z", own(1), created_at="2026-01-01")
    new = chat("a", [*own(1), *own(2)], created_at="2026-02-01")
    assert names(new, old) == ["z", "z"]
    short, long = chat("z", own(1)), chat("a", [*own(1), *own(2)])
    assert names(long, short) == ["z", "z"], "without times, the shorter is the older"


def test_one_exchange_in_the_middle_joins_and_so_does_a_group() -> None:
    row = own(1)[1]
    chunks = [replace(chat(f"c{n}", own(n)), metadata={"group": "g"}) for n in (5, 6, 7)]
    foreign = replace(chunks[0], id="f", source="import:csv", messages=chat("f", own(8)).messages)
    found = names(chat("whole", own(1)), chat("row", [row]), *chunks, foreign)
    assert found == ["row", "row", "c5", "c5", "c5", "f"], "a group is one source's"


def test_twenty_forks_of_a_long_beginning_are_one_cluster_and_a_preamble_joins_nothing() -> None:
    forks = [chat(f"f{n:02}", [*own(0), *own(n + 1)]) for n in range(20)]
    assert len(set(names(*forks))) == 1
    preamble = [chat(f"f{n:02}", [*own(0), *own(n + 1)]) for n in range(60)]
    assert len(set(names(*preamble))) == 60


def test_stock_exchanges_join_nothing_and_are_not_tested(
    builder: DatasetBuilder, tmp_path: Path
) -> None:
    chats = [chat(f"c{n}", [HELLO, *own(n, 1), ("Thanks", "Welcome!")]) for n in range(200)]
    chats += [chat("only hello", [HELLO, HELLO])]
    assert len(set(names(*chats))) == 201
    built = builder.build(chats, tmp_path)
    assert leaks(built) == set()
    held = {name for split in SPLITS[1:] for name in built.conversation_ids[split]}
    assert 20 < len(held) < 60
    for split in SPLITS[1:]:
        counts = built.manifest["splits"][split]
        assert counts["replies"] == counts["conversations"], "its own exchange alone"
    assert built.manifest["lost_replies"]["stands in train"] == 2 * len(held)
    assert built.manifest["replies"]["given"] == 602


def test_hundreds_of_rare_stock_exchanges_do_not_chain_everything() -> None:
    draw = random.Random(1)
    stock = [(f"Stock question {n}", f"Stock reply {n}") for n in range(300)]
    chats = [
        chat(f"c{n}", [*own(n, 1), *draw.sample(stock, 2), *own(n + 5000, 1)]) for n in range(1000)
    ]
    sizes = Counter(names(*chats))
    assert max(sizes.values()) <= 50


def test_a_conversation_without_other_exchanges_leaves_the_split(
    builder: DatasetBuilder, tmp_path: Path
) -> None:
    chats = [chat(f"c{n}", [HELLO, *own(n, 1)]) for n in range(60)]
    stock = [(f"hi {n}", "Hello!") for n in range(10)]
    pairs = [[one, other] for one in stock for other in stock if one != other]
    hellos = [chat(f"h{n}", pair) for n, pair in enumerate(pairs)]
    built = builder.build([*chats, *hellos], tmp_path)
    manifest = built.manifest
    assert leaks(built) == set()
    dropped = manifest["conversations"]["dropped"]["stands in train"]
    assert 0 < dropped == len(manifest["dropped_conversations"])
    assert {reason for _, reason in manifest["dropped_conversations"]} == {"stands in train"}
    assert manifest["conversations"]["kept"] + dropped == 150 == manifest["conversations"]["given"]


pool = st.sampled_from([HELLO, *[one for n in range(6) for one in own(n)], ("Go on", "x" * 300)])
talks = st.lists(st.lists(pool, min_size=1, max_size=5), min_size=10, max_size=25)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=talks, seed=st.integers(0, 9), truncation=st.sampled_from(TRUNCATIONS))
def test_no_held_out_exchange_stands_in_train_and_no_reply_vanishes(
    chatml: Ports, drawn: list[Exchanges], seed: int, truncation: str
) -> None:
    builder = DatasetBuilder(
        chatml.tokenizer,
        chatml.renderer,
        max_length=120,
        seed=seed,
        truncation=truncation,
        ratios=Ratios(train=0.5, validation=0.25, test=0.25),
    )
    given_ones = [chat(f"c{n}", exchanges) for n, exchanges in enumerate(drawn)]
    with tempfile.TemporaryDirectory() as folder:
        built = builder.build(given_ones, Path(folder))
        assert leaks(built) == set()
    manifest = built.manifest
    replies, lost = manifest["replies"], sum(manifest["lost_replies"].values())
    assert replies["given"] == sum(map(len, drawn)) == replies["kept"] + lost
    assert replies["kept"] == sum(manifest["splits"][split]["replies"] for split in SPLITS)
    counts = manifest["conversations"]
    assert counts["given"] == counts["kept"] + sum(counts["dropped"].values())
    assert counts["kept"] == sum(manifest["splits"][s]["conversations"] for s in SPLITS)


def test_what_grew_and_what_is_new_moves_nothing(builder: DatasetBuilder, tmp_path: Path) -> None:
    dated = {"created_at": "2026-01-01"}
    chats = [chat(f"c{n}", [*own(n), HELLO], **dated) for n in range(60)]
    before = split_of(builder.build(chats, tmp_path))
    later = {"created_at": "2026-02-01"}
    grown = [chat(f"a{n}", [*own(n), HELLO, *own(n + 500)], **later) for n in range(60)]
    new = [chat(f"n{n}", [HELLO, *own(n + 900)], **later) for n in range(40)]
    after = split_of(builder.build([*new, *grown, *chats], tmp_path))
    assert {name: after[name] for name in before} == before
    assert all(after[f"a{n}"] == before[f"c{n}"] for n in range(60))


@pytest.mark.parametrize("truncation", ["cut", "drop"])
def test_the_needed_length_keeps_nearly_all_that_is_too_long(
    chatml: Ports, tmp_path: Path, truncation: str
) -> None:
    def built(length: int) -> Snapshot:
        builder = DatasetBuilder(
            chatml.tokenizer, chatml.renderer, max_length=length, truncation=truncation
        )
        return builder.build([chat(f"c{n}", own(n, 5 * n + 3)) for n in range(12)], tmp_path)

    short = built(200).manifest
    beyond = short["lost_replies"]["beyond max_length"]
    needed = short["needed_length"]
    assert needed % 64 == 0
    still = built(needed).manifest["lost_replies"].get("beyond max_length", 0)
    assert 0 <= still <= 0.05 * beyond < beyond
    assert built(needed - 128).manifest["lost_replies"]["beyond max_length"] > 0.05 * beyond
    assert "needed_length" not in built(100_000).manifest


def test_the_doctor_measures_leakage_by_text(builder: DatasetBuilder, tmp_path: Path) -> None:
    built = builder.build([chat(f"c{n}", own(n)) for n in range(40)], tmp_path)
    good = data_set_findings(built, builder.recipe, lambda name: name)[0]
    num_held = 3 * sum(len(built.conversation_ids[split]) for split in SPLITS[1:])
    assert (good.check, good.severity) == ("leakage", "good")
    assert good.title.startswith(f"none of {num_held} held-out exchanges stands in training")
    records = {split: built.split(split).records for split in SPLITS}
    leaking = {**records, "train": [*records["train"], records["test"][0]]}
    other = write_snapshot(tmp_path, leaking, facts_of(built.manifest))
    assert data_set_findings(other, builder.recipe, lambda name: name)[0].severity == "stop"
    bad = data_set_findings(other, builder.recipe, lambda name: name)[0]
    assert bad.severity == "stop"
    assert bad.title == f"3 of {num_held} held-out exchanges stand in training word for word"
    assert bad.examples == (records["test"][0].example.conversation_id,)


def test_the_doctor_names_near_duplicates_of_one_cluster(
    builder: DatasetBuilder, tmp_path: Path
) -> None:
    said = "The harbour opens at nine on every weekday and closes at five when the ferry has left"
    chats = [
        chat(f"c{n}", [(f"When does harbour number {n} open?", f"{said}.")]) for n in range(60)
    ]
    built = builder.build(chats, tmp_path)
    apart = data_set_findings(built, builder.recipe, lambda name: name)[0]
    assert apart.severity == "good", "the cluster says what is nearly the same"
    near = data_set_findings(built, builder.recipe, lambda _: "one")[0]
    num_held = sum(len(built.conversation_ids[split]) for split in SPLITS[1:])
    assert (near.severity, near.numbers["in_train"]) == ("warning", 0)
    assert (
        near.title
        == f"{num_held} of {num_held} held-out exchanges have a near duplicate in training"
    )
    other = builder.build([chat(f"c{n}", own(n)) for n in range(40)], tmp_path)
    assert data_set_findings(other, builder.recipe, lambda _: "one")[0].severity == "good"


@pytest.mark.parametrize("truncation", ["windows", "oldest"])
def test_the_needed_length_of_windows_is_that_of_an_exchange_by_itself(
    chatml: Ports, tmp_path: Path, truncation: str
) -> None:
    chats = [
        chat(f"c{n}", [*own(n, 9), (f"Read this {n}: {'word ' * (150 + n)}", f"I read {n}.")])
        for n in range(40)
    ]

    def lost(length: int) -> tuple[int, int | None]:
        builder = DatasetBuilder(
            chatml.tokenizer, chatml.renderer, max_length=length, truncation=truncation
        )
        manifest = builder.build(chats, tmp_path).manifest
        return manifest["lost_replies"].get("beyond max_length", 0), manifest.get("needed_length")

    beyond, needed = lost(300)
    assert beyond == 40
    assert needed is not None
    assert lost(needed)[0] <= 2
    assert lost(needed - 128)[0] > 2


def test_replies_are_counted_after_a_conversation_was_forgotten(
    builder: DatasetBuilder, tmp_path: Path
) -> None:
    chats = [chat(f"c{n}", [HELLO, *own(n)]) for n in range(60)]
    built = builder.build(chats, tmp_path)
    name = built.conversation_ids["train"][0]
    after = without_conversation(built.path, name)
    assert after is not None
    replies, lost = after.manifest["replies"], sum(after.manifest["lost_replies"].values())
    assert replies["given"] == replies["kept"] + lost == built.manifest["replies"]["given"] - 4
    assert replies["kept"] == sum(after.manifest["splits"][split]["replies"] for split in SPLITS)


def test_the_sessions_of_a_conversation_are_sequences_of_one_id(
    chatml: Ports, tmp_path: Path
) -> None:
    def halves(one: Conversation) -> list[Conversation]:
        first, second = one.messages[:4], one.messages[4:]
        second = (replace(second[0], parent_id=None), *second[1:])
        return [replace(one, messages=first), replace(one, messages=second)]

    chats = [chat(f"c{n}", own(n, 4)) for n in range(20)]
    liked = {("c3", chats[3].messages[5].id)}
    for policy, wanted in (("weighted", 80), ("last", 40), ("rated_up", 1)):
        built = DatasetBuilder(
            chatml.tokenizer,
            chatml.renderer,
            sessions_of=halves,
            train_on=policy,
            rated_up=liked,
        ).build(chats, tmp_path)
        assert built.manifest["replies"] == {"given": wanted, "kept": wanted}
        assert built.manifest["conversations"]["given"] == 20
        records = [r for split in SPLITS for r in built.split(split).records]
        begun = {record.example.messages[0].text.split(".")[1] for record in records}
        assert begun == ({"2?"} if policy == "rated_up" else {"0?", "2?"})
        assert len(split_of(built)) == len({r.example.conversation_id for r in records})
