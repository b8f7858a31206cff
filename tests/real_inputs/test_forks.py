"""Chats that share a beginning or an exchange share a split, and nothing is tested by heart."""

from __future__ import annotations

import csv
import json
import random
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from fine_tuning.data_preparation.dataset_builder import DatasetBuilder
from fine_tuning.data_preparation.snapshot import SPLITS, Snapshot
from fine_tuning.workbench.data.cleaning_pipeline import kept_of
from fine_tuning.workbench.workbench import Workbench
from tests.data_preparation.conftest import open_folder
from tests.data_preparation.tiny_tokenizers import chatml_folder
from tests.real_inputs.pipeline import INPUTS, workbench

pytestmark = pytest.mark.real_input("forks and grown re-exports share a split")

Exchanges = list[tuple[str, str]]
TEXT = (
    "tide harbour lamp stone ferry bread gull rope anchor deck sail keel crew storm north bay pier "
    "net fish salt wave fog bell chart oar mast hull star moon wind rain snow tea soup coat boot "
    "潮 港 灯 石 船 パン カモメ море маяк камень ветер سفينة ميناء città faro über Straße"
)
WORDS = TEXT.split()
STOCK = [("hi", "Hello! How can I help?"), ("Hallo", "Hallo! Wie kann ich helfen?")] + [
    (f"Thanks {n}!", f"You are welcome, as ever, number {n}.") for n in range(200)
]


def imported(home: Path, *files: Path) -> Workbench:
    bench = workbench(home, training={"base_model": "embedded"})
    for file in files:
        bench.data.importer.import_file(file)
    return bench


def texts(snapshot: Snapshot, split: str, *, is_trained: bool) -> Iterator[str]:
    """Every exchange in a split's file, or those trained on, without case and white space."""
    lines = (snapshot.path / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    for raw in map(json.loads, lines):
        for place, (asked, said) in enumerate(pairwise(raw["messages"]), start=1):
            if said["role"] == "assistant" and (not is_trained or place in raw["targets"]):
                yield "".join(f"{asked['content']}|{said['content']}".casefold().split())


def held_out(snapshot: Snapshot) -> list[str]:
    return [text for split in SPLITS[1:] for text in texts(snapshot, split, is_trained=True)]


def leaked(snapshot: Snapshot) -> set[str]:
    return set(held_out(snapshot)) & set(texts(snapshot, "train", is_trained=False))


def splits_of(bench: Workbench, snapshot: Snapshot) -> dict[str, set[str]]:
    """The splits in which each first question stands, among the conversations as recorded."""
    first = {one.id: one.path()[0].text for one in bench.data.conversations()}
    found: dict[str, set[str]] = {}
    for split, names in snapshot.conversation_ids.items():
        for name in names:
            found.setdefault(first[name], set()).add(split)
    return found


def test_forks_share_the_split_of_what_they_were_forked_from(tmp_path: Path) -> None:
    bench = imported(tmp_path, INPUTS / "fork-leak" / "forks.jsonl")
    snapshot = bench.data.prepare()
    assert leaked(snapshot) == set()
    assert all(len(found) == 1 for found in splits_of(bench, snapshot).values())
    assert all(snapshot.conversation_ids[split] for split in SPLITS)


def test_chunks_of_one_chat_share_a_split(tmp_path: Path) -> None:
    bench = imported(tmp_path, INPUTS / "fork-leak" / "chunks.json")
    snapshot = bench.data.prepare()
    groups: dict[str, set[str]] = {}
    group_of = {one.id: str(one.metadata["group"]) for one in bench.data.conversations()}
    for split, names in snapshot.conversation_ids.items():
        for name in names:
            groups.setdefault(group_of[name], set()).add(split)
    assert len(groups) == 60
    assert all(len(found) == 1 for found in groups.values())


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_grown_record_replaces_the_old(tmp_path: Path, kind: str) -> None:
    files = [INPUTS / "fork-leak" / f"grow{number}.{kind}" for number in (1, 2)]
    for number, order in enumerate((files, files[::-1])):
        bench = imported(tmp_path / str(number), *order)
        snapshot = bench.data.prepare()
        assert sum(map(len, snapshot.conversation_ids.values())) == 1
        said = [text for split in SPLITS for text in texts(snapshot, split, is_trained=True)]
        assert len(said) == len(set(said)) == (3 if kind == "jsonl" else 2)


def write_jsonl(path: Path, chats: dict[str, Exchanges]) -> Path:
    lines = []
    for name, exchanges in chats.items():
        messages = [
            {"role": role, "content": text}
            for pair in exchanges
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
        lines.append(json.dumps({"id": name, "messages": messages}, ensure_ascii=False) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


def write_csv(path: Path, chats: dict[str, Exchanges]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["conversation_id", "role", "content"])
        for name, exchanges in chats.items():
            for asked, said in exchanges:
                table.writerows([[name, "user", asked], [name, "assistant", said]])
    return path


def write_rows(path: Path, exchanges: Exchanges) -> Path:
    """One exchange a row, as programs export that know no conversations."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["prompt", "response"])
        table.writerows(exchanges)
    return path


def _in_capitals(exchanges: Exchanges) -> Exchanges:
    """A clone that an import would not know for the same."""
    return [(asked.upper(), f"{said} ") for asked, said in exchanges]


def exports(folder: Path, seed: int) -> list[Path]:
    """About 1,000 chats: new ones, forks, clones, and files exported again after they grew."""
    draw = random.Random(seed)

    def exchange() -> tuple[str, str]:
        asked, said = (" ".join(draw.choices(WORDS, k=k)) for k in (8, 14))
        return f"{asked.capitalize()}?", f"{said.capitalize()}."

    def chat() -> Exchanges:
        own = [exchange() for _ in range(draw.randint(2, 4))]
        return [*draw.sample(STOCK, draw.randint(0, 1)), *own, *draw.sample(STOCK, 1)]

    new = {f"chat-{n}": chat() for n in range(480)}
    names = list(new)
    forks = {
        f"fork-{n}": [*(base := new[draw.choice(names)])[: draw.randint(1, len(base))], *chat()[:2]]
        for n in range(180)
    }
    clones = {f"clone-{n}": _in_capitals(new[draw.choice(names)]) for n in range(60)}
    grown = {f"again-{name}": [*new[name], *chat()] for name in draw.sample(names, 150)}
    table = {f"row-{n}": chat() for n in range(80)}
    longer = {
        name: [*one, exchange()] if draw.random() < 0.7 else one for name, one in table.items()
    }
    rows = [one for name in draw.sample(names, 20) for one in new[name][1:3]]
    return [
        write_jsonl(folder / "first.jsonl", {**new, **forks}),
        write_jsonl(folder / "second.jsonl", {**clones, **grown}),
        write_csv(folder / "table.csv", table),
        write_csv(folder / "table-later.csv", longer),
        write_rows(folder / "rows.csv", rows),
    ]


@pytest.mark.parametrize("is_cleaned", [True, False], ids=["cleaned", "as recorded"])
def test_of_1000_chats_no_held_out_exchange_stands_in_training(
    tmp_path: Path, is_cleaned: bool
) -> None:
    bench = imported(tmp_path / "home", *exports(tmp_path, seed=5))
    recorded = bench.data.conversations()
    assert len(recorded) >= 980
    tiny = open_folder(chatml_folder(tmp_path / "tiny"))  # quick, and splits ask for no model
    clusters: dict[str, str] = {}
    if is_cleaned:
        run = bench.data.pipeline.stream()
        recorded, clusters = list(kept_of(run)), run.clusters
    builder = DatasetBuilder(
        tiny.tokenizer, tiny.renderer, cluster_of=lambda one: clusters.get(one.id, one.id)
    )
    snapshot = builder.build(recorded, tmp_path / "sets")
    assert leaked(snapshot) == set()
    assert len(held_out(snapshot)) > 200
    sizes = Counter({split: len(names) for split, names in snapshot.conversation_ids.items()})
    assert 0.7 < sizes["train"] / sizes.total() < 0.9, "stock exchanges pull nothing together"
    replies, lost = snapshot.manifest["replies"], snapshot.manifest["lost_replies"]
    assert replies["given"] == replies["kept"] + sum(lost.values())
    assert lost.get("stands in train", 0) < 0.1 * replies["given"]
