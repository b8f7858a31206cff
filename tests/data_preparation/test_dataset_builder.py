from __future__ import annotations

import json
import logging
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from fine_tuning.core.conversation import Conversation, Message, Part
from fine_tuning.core.errors import ConfigError, DataError
from fine_tuning.core.naming import unit_interval
from fine_tuning.data_preparation.dataset_builder import (
    MIN_CONVERSATIONS_FOR_ALL_SPLITS,
    DatasetBuilder,
    Ratios,
    load_snapshot,
    split_clusters,
)
from fine_tuning.data_preparation.masking import IGNORED_LABEL
from fine_tuning.data_preparation.snapshot import (
    SPLITS,
    Snapshot,
    SnapshotDataset,
)
from fine_tuning.data_preparation.tokenizer import TokenizerUtils
from tests.data_preparation.conftest import Ports


def talk(number: int) -> Conversation:
    return Conversation.from_turns(
        [
            ("user", f"Question {number}?"),
            ("assistant", f"Reply {number}."),
            ("user", "And then?"),
            ("assistant", f"Then {number + 1}."),
        ]
    )


TALKS = [talk(number) for number in range(40)]


@pytest.fixture
def builder(chatml: Ports) -> DatasetBuilder:
    return DatasetBuilder(chatml.tokenizer, chatml.renderer, base_model={"name": "tiny"})


def splits_of(snapshot: Snapshot) -> dict[str, str]:
    """The split of each conversation id."""
    return {
        identity: split
        for split in SPLITS
        for identity in snapshot.manifest["splits"][split]["conversation_ids"]
    }


def test_a_data_set_is_named_by_its_content_and_building_it_again_does_nothing(
    builder: DatasetBuilder, tmp_path: Path
) -> None:
    first = builder.build(TALKS, tmp_path)
    assert first.path == tmp_path / first.name.replace(":", "-")
    stamps = {path: path.stat().st_mtime_ns for path in first.path.iterdir()}
    shuffled = random.Random(1).sample([talk.to_dict() for talk in TALKS], len(TALKS))
    again = builder.build(shuffled, tmp_path)
    assert (again.path, again.manifest) == (first.path, first.manifest)
    assert {path: path.stat().st_mtime_ns for path in first.path.iterdir()} == stamps
    assert [path.name for path in tmp_path.iterdir()] == [first.path.name]
    assert load_snapshot(first.path) == first


def test_any_other_input_or_setting_gives_another_name(chatml: Ports, tmp_path: Path) -> None:
    def name(talks: list[Conversation], **settings: object) -> str:
        builder = DatasetBuilder(chatml.tokenizer, chatml.renderer, **settings)  # type: ignore[arg-type]
        return builder.build(talks, tmp_path).name

    names = [
        name(TALKS),
        name(TALKS[1:]),
        name(TALKS, seed=1),
        name(TALKS, max_length=64),
        name(TALKS, base_model={"name": "tiny", "digest": "sha256:00"}),
        name(TALKS, ratios=Ratios(train=0.7, validation=0.2, test=0.1)),
    ]
    assert len(set(names)) == len(names)


def test_the_manifest_counts_what_the_files_hold(builder: DatasetBuilder, tmp_path: Path) -> None:
    snapshot = builder.build(TALKS, tmp_path)
    manifest = json.loads((snapshot.path / "manifest.json").read_text())
    for split in SPLITS:
        lines = (snapshot.path / f"{split}.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        counts = manifest["splits"][split]
        assert counts["sequences"] == len(rows) > 0
        assert counts["tokens"] == sum(len(row["ids"]) for row in rows)
        assert counts["trained_tokens"] == sum(row["mask"].count("1") for row in rows)
        assert counts["replies"] == 2 * counts["conversations"]
        assert set(counts["conversation_ids"]) == {row["conversation_id"] for row in rows}
        assert rows[0]["messages"][1]["role"] == "assistant"
    assert manifest["settings"]["ratios"] == {"train": 0.8, "validation": 0.1, "test": 0.1}
    assert manifest["base_model"] == {"name": "tiny"}
    assert set(splits_of(snapshot)) == {talk.id for talk in TALKS}


def test_new_conversations_never_move_old_ones(builder: DatasetBuilder, tmp_path: Path) -> None:
    before = splits_of(builder.build(TALKS, tmp_path))
    after = splits_of(builder.build([*map(talk, range(40, 90)), *TALKS], tmp_path))
    assert {identity: after[identity] for identity in before} == before
    assert len(after) == 90


clusters = st.lists(st.integers(0, 10**6).map(str), min_size=1, max_size=60)
ratios = st.sampled_from(
    [
        Ratios(),
        Ratios(train=0.5, validation=0.25, test=0.25),
        Ratios(train=0.9, validation=0, test=0.1),
    ]
)


@given(old=clusters, new=clusters, shares=ratios, seed=st.integers(0, 9))
def test_only_borrowed_clusters_ever_move(
    old: list[str], new: list[str], shares: Ratios, seed: int
) -> None:
    before, borrowed = split_clusters(old, shares, seed=seed)
    after, borrowed_later = split_clusters([*old, *new], shares, seed=seed)
    moved = {cluster for cluster in before if before[cluster] != after[cluster]}
    assert moved <= borrowed.keys() | borrowed_later.keys()
    for cluster, split in before.items():
        low, high = shares.interval(borrowed.get(cluster, split))
        assert low <= unit_interval(cluster, salt=str(seed)) < high


@given(members=clusters, shares=ratios, seed=st.integers(0, 9))
def test_small_data_fills_every_split_it_can(members: list[str], shares: Ratios, seed: int) -> None:
    placed, _ = split_clusters(members, shares, seed=seed)
    filled = set(placed.values())
    assert "train" in filled
    wanted = {split for split in SPLITS if shares.of(split)}
    if len(members) >= MIN_CONVERSATIONS_FOR_ALL_SPLITS and len(set(members)) >= len(wanted):
        assert filled == wanted
    assert filled <= wanted


def test_a_cluster_stays_together(chatml: Ports, tmp_path: Path) -> None:
    builder = DatasetBuilder(
        chatml.tokenizer,
        chatml.renderer,
        cluster_of=lambda conversation: str(int(conversation.messages[0].text[9:-1]) // 4),
    )
    placed = splits_of(builder.build(TALKS, tmp_path))
    for group in range(10):
        assert len({placed[talk.id] for talk in TALKS[4 * group : 4 * group + 4]}) == 1


def test_a_chat_that_goes_on_stays_in_its_split(builder: DatasetBuilder, tmp_path: Path) -> None:
    chats = [replace(talk, id=f"chat-{number}") for number, talk in enumerate(TALKS)]
    before = splits_of(builder.build(chats, tmp_path))
    longer = [
        Conversation.from_turns(
            [*((m.role, m.text) for m in chat.messages), ("user", "Why?"), ("assistant", "So.")],
            id=chat.id,
        )
        for chat in chats
    ]
    assert splits_of(builder.build(longer, tmp_path)) == before
    assert len(set(before.values())) == 3


def test_copies_share_the_split_of_the_oldest(builder: DatasetBuilder, tmp_path: Path) -> None:
    chats = [replace(talk, id=f"chat-{n}", created_at="2026-01-01") for n, talk in enumerate(TALKS)]
    before = splits_of(builder.build(chats, tmp_path))
    copies = [replace(c, id=f"a-{c.id}", created_at="2026-02-02") for c in chats]
    after = splits_of(builder.build([*copies, *chats], tmp_path))
    for chat in chats:
        assert after[chat.id] == after[f"a-{chat.id}"] == before[chat.id]


def test_the_manifest_says_what_is_learnt(chatml: Ports, tmp_path: Path) -> None:
    liked = {(TALKS[3].id, TALKS[3].messages[1].id)}
    counts = {}
    for policy in ("weighted", "last", "rated_up"):
        built = DatasetBuilder(
            chatml.tokenizer, chatml.renderer, train_on=policy, rated_up=liked
        ).build(TALKS, tmp_path)
        assert built.manifest["settings"]["train_on"] == policy
        counts[policy] = sum(built.manifest["splits"][s]["replies"] for s in SPLITS)
    assert counts == {"weighted": 80, "last": 40, "rated_up": 1}
    assert built.manifest["conversations"]["dropped"] == {"no reply is rated up": 39}


@pytest.mark.parametrize(
    "shares",
    [
        {"train": 0.8, "validation": 0.1, "test": 0.2},
        {"train": 0.0, "validation": 0.5, "test": 0.5},
        {"train": 1.2, "validation": -0.1, "test": -0.1},
        {"train": float("nan"), "validation": 0.5, "test": 0.5},
    ],
)
def test_ratios_that_cannot_be_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="ratios"):
        Ratios(**shares)


def test_nothing_disappears(builder: DatasetBuilder, tmp_path: Path) -> None:
    unanswered = Conversation.from_turns([("user", "Anyone?")])
    broken = Conversation.from_turns([("user", "a\udc00"), ("assistant", "b")])
    not_json = Conversation(
        id="nan",
        messages=(
            Message(id="a", role="user", content=(Part(text="x"),), metadata={"p": float("nan")}),
        ),
    )
    orphan = Conversation(id="orphan", messages=(Message(id="a", role="user", parent_id="gone"),))
    too_long = Conversation.from_turns([("user", "long " * 5000), ("assistant", "b")])
    greeting = Conversation.from_turns(
        [("assistant", "Hello"), ("user", "Hi"), ("assistant", "Yes")]
    )
    given_ones = [*TALKS, TALKS[0], unanswered, broken, not_json, orphan, too_long, greeting]
    manifest = builder.build(given_ones, tmp_path).manifest
    counts = manifest["conversations"]
    assert counts["given"] == counts["kept"] + sum(counts["dropped"].values()) == len(given_ones)
    assert counts["dropped"] == {
        "given twice": 1,
        "no reply": 1,
        "holds values or text JSON cannot express": 2,
        "damaged tree": 1,
        "beyond max_length": 1,
    }
    lost = {"nothing stands before the reply": 1, "beyond max_length": 1}
    assert manifest["lost_replies"] == lost, "the reply of a dropped conversation is counted too"
    assert ["orphan", "damaged tree"] in manifest["dropped_conversations"]


def test_no_conversations_to_train_on(builder: DatasetBuilder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No conversations to train on: none were given") as none:
        builder.build([], tmp_path)
    assert "enable conversation logging and chat with the bot" in none.value.next_command
    question = Conversation.from_turns([("user", "Anyone?")])
    with pytest.raises(DataError, match=r"all 1 were dropped \(1 no reply\)"):
        builder.build([question], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_training_data_too_small_is_remarked(
    builder: DatasetBuilder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        small = builder.build(TALKS[:3], tmp_path)
    assert small.remarks[0].startswith("Training data too small: 6 question-answer pairs")
    assert "100+ high-quality pairs" in small.remarks[0]
    assert "split holds no conversation" in small.remarks[1]
    assert small.remarks[0] in caplog.text
    assert builder.build([talk(number) for number in range(50)], tmp_path).remarks == ()


def test_progress_is_told(builder: DatasetBuilder, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    builder.build(TALKS[:4], tmp_path, progress=lambda *now: told.append(now))
    assert told == [("tokenizing", done, 4) for done in (1, 2, 3, 4)]


def test_splits_work_in_pytorchs_data_loader(builder: DatasetBuilder, tmp_path: Path) -> None:
    train = load_snapshot(builder.build(TALKS, tmp_path).path).split("train")
    item, example = train[0], train.examples[0]
    assert item["input_ids"].dtype == item["labels"].dtype == np.int64
    assert item["input_ids"].tolist() == list(example.ids)
    learnt = item["labels"] != IGNORED_LABEL
    assert learnt.astype(int).tolist() == list(example.mask)
    assert (item["labels"][learnt] == item["input_ids"][learnt]).all()
    one_by_one = [batch["input_ids"] for batch in DataLoader(train, batch_size=1)]  # type: ignore[arg-type,var-annotated]
    assert [batch.tolist()[0] for batch in one_by_one] == [list(e.ids) for e in train.examples]
    loader = DataLoader(train, batch_size=8, collate_fn=SnapshotDataset.collate)  # type: ignore[arg-type,var-annotated]
    batches = list(loader)
    assert sum(batch["attention_mask"].sum() for batch in batches) == sum(
        len(example.ids) for example in train.examples
    )
    assert sum((batch["labels"] != IGNORED_LABEL).sum() for batch in batches) == sum(
        example.num_targets for example in train.examples
    )
    assert len(train) == sum(len(batch["labels"]) for batch in batches)
    assert [source.conversation_id for source in train.sources] == [
        example.conversation_id for example in train.examples
    ]
    assert train.sources[0].id == train.examples[0].example_id


def test_a_snapshot_that_was_touched_is_refused(builder: DatasetBuilder, tmp_path: Path) -> None:
    sound = builder.build(TALKS, tmp_path / "sets").path

    def copy(name: str) -> Path:
        return Path(shutil.copytree(sound, tmp_path / name))

    assert load_snapshot(copy("moved")).name == load_snapshot(sound).name

    edited = copy("edited") / "test.jsonl"
    edited.write_text(edited.read_text().replace("Reply", "Raply"))
    with pytest.raises(DataError, match=r"test\.jsonl was changed"):
        load_snapshot(edited.parent)

    torn = copy("torn") / "train.jsonl"
    torn.write_bytes(torn.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"train\.jsonl has \d+ bytes, expected \d+"):
        load_snapshot(torn.parent)

    (copy("missing") / "validation.jsonl").unlink()
    with pytest.raises(DataError, match=r"validation\.jsonl is missing"):
        load_snapshot(tmp_path / "missing")

    (copy("unfinished") / "manifest.json").unlink()
    with pytest.raises(DataError, match="never finished"):
        load_snapshot(tmp_path / "unfinished")

    manifest = copy("lying") / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(DataError, match="its content"):
        load_snapshot(manifest.parent)

    with pytest.raises(DataError, match="named b2:"):
        load_snapshot(copy("b2-00"))
    with pytest.raises(DataError, match="there is no data set"):
        load_snapshot(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "{",
        '{"files": {}, "schema": "dataset/0"}',
        '{"files": {}, "schema": "dataset/1"}',
    ],
)
def test_a_foreign_manifest_is_one_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match="data set") as caught:
        load_snapshot(tmp_path)
    assert "prepare" in caught.value.next_command


def test_a_damaged_snapshot_is_built_again(builder: DatasetBuilder, tmp_path: Path) -> None:
    first = builder.build(TALKS, tmp_path)
    (first.path / "train.jsonl").write_text("")
    again = builder.build(TALKS, tmp_path)
    assert again.path == first.path
    assert load_snapshot(first.path).manifest == first.manifest


def test_there_are_three_splits(builder: DatasetBuilder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no split 'dev', expected one of train"):
        builder.build(TALKS, tmp_path).split("dev")


def test_the_embedded_models_data_set(embedded: TokenizerUtils, tmp_path: Path) -> None:
    builder = DatasetBuilder(embedded.tokenizer, embedded.renderer, base_model={"name": "embedded"})
    snapshot = builder.build(TALKS[:12], tmp_path)
    assert snapshot.manifest["tokenizer"] == embedded.tokenizer.fingerprint
    assert snapshot.manifest["renderer"] == embedded.renderer.fingerprint
    for split in SPLITS:
        for example in snapshot.split(split).examples:
            assert example.ids[-1] == 2
            assert example.mask[-1] == 1
