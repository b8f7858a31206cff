"""A data set on disk: a folder named by its content, checked whenever it is opened.

    <datasets>/b2-<32 hex>/
        train.jsonl  validation.jsonl  test.jsonl    one sequence a line: messages, ids, mask
        manifest.json                                written last; its name is derived from it

Knows how data sets are written and read, not how they are built. The data sets it hands out are
what PyTorch calls map-style (``__len__`` and ``__getitem__``); torch itself is not needed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fine_tuning.core.conversation import Message
from fine_tuning.core.errors import DataError
from fine_tuning.core.example import Example, TokenizedExample
from fine_tuning.core.json_shape import data_errors
from fine_tuning.core.naming import canonical_json, content_name, file_sha256
from fine_tuning.data_preparation.manifest import (
    DatasetFacts,
    DatasetManifest,
    FileEntry,
    SplitCounts,
)
from fine_tuning.data_preparation.masking import IGNORED_LABEL
from fine_tuning.storage.atomic import storage_errors, whole_folder

SCHEMA = "dataset/1"
SPLITS: tuple[str, ...] = ("train", "validation", "test")
MANIFEST = "manifest.json"
REBUILD = "build the data set again with 'fine-tuning prepare'"

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line: a sequence and the example it was made from."""

    example: Example
    tokenized: TokenizedExample

    def to_line(self) -> str:
        """Return the line, without its newline; what does not reach the model is left out."""
        kept = ("id", "role", "content", "name", "tool_calls", "tool_call_id", "reasoning")
        messages = [message.to_dict() for message in self.example.messages]
        raw = {
            **self.tokenized.to_dict(),
            "targets": list(self.example.targets),
            "messages": [{k: raw[k] for k in kept if k in raw} for raw in messages],
        }
        if self.example.tools:
            raw["tools"] = [dict(tool) for tool in self.example.tools]
        return canonical_json(raw)

    @classmethod
    def from_line(cls, line: str) -> Record:
        """Read what :meth:`to_line` wrote.

        Raises:
            DataError: if the line is not such a record.
        """
        with data_errors("a line of a data set"):
            raw = json.loads(line)
            example = Example(
                conversation_id=str(raw["conversation_id"]),
                messages=tuple(Message.from_dict(message) for message in raw["messages"]),
                targets=tuple(int(target) for target in raw["targets"]),
                tools=tuple(raw.get("tools") or ()),
            )
        return cls(example=example, tokenized=TokenizedExample.from_dict(raw))


class SnapshotDataset:
    """One split: a map-style data set for ``torch.utils.data.DataLoader``.

    An item is {"input_ids", "labels"}, int64 arrays of shape (T,); ``labels[i]`` is
    ``input_ids[i]`` where that token is learnt and -100 elsewhere (no shift). Items differ in
    length: pass :meth:`collate` to a loader with batches.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = tuple(records)
        self.examples = [record.tokenized for record in self.records]

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, IntArray]:
        example = self.examples[index]
        ids = np.array(example.ids, dtype=np.int64)
        mask = np.array(example.mask, dtype=bool)
        return {"input_ids": ids, "labels": np.where(mask, ids, IGNORED_LABEL)}

    @property
    def sources(self) -> list[Example]:
        """The examples the sequences were made from, each once, in order."""
        return list({record.example.id: record.example for record in self.records}.values())

    @staticmethod
    def collate(items: Sequence[Mapping[str, IntArray]]) -> dict[str, IntArray]:
        """Return items as arrays of shape (B, T), filled up with id 0, attention 0, label -100."""
        longest = max(len(item["input_ids"]) for item in items)
        shape = (len(items), longest)
        batch = {
            "input_ids": np.zeros(shape, dtype=np.int64),
            "attention_mask": np.zeros(shape, dtype=np.int64),
            "labels": np.full(shape, IGNORED_LABEL, dtype=np.int64),
        }
        for row, item in enumerate(items):
            length = len(item["input_ids"])
            batch["input_ids"][row, :length] = item["input_ids"]
            batch["attention_mask"][row, :length] = 1
            batch["labels"][row, :length] = item["labels"]
        return batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An opened data set whose files were found to be what its manifest says."""

    path: Path
    manifest: DatasetManifest

    @property
    def name(self) -> str:
        """The content name, ``b2:<32 hex>``."""
        return str(self.manifest["name"])

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know about this data, one sentence each."""
        return tuple(self.manifest["remarks"])

    @property
    def conversation_ids(self) -> dict[str, tuple[str, ...]]:
        """The ids of the conversations each split was made from."""
        return _conversation_ids(self.manifest)

    def split(self, name: str) -> SnapshotDataset:
        """Return one split.

        Raises:
            DataError: if there is no such split, or a line of it cannot be read.
        """
        if name not in SPLITS:
            raise DataError(
                f"a data set has no split {name!r}, expected one of {', '.join(SPLITS)}"
            )
        if not self.manifest["files"]:
            return SnapshotDataset([])
        path = self.path / f"{name}.jsonl"
        with storage_errors(path):
            lines = path.read_text(encoding="utf-8").split("\n")
        return SnapshotDataset([Record.from_line(line) for line in lines if line])


_NO_CONVERSATIONS: Final[SplitCounts] = {
    "conversations": 0,
    "sequences": 0,
    "replies": 0,
    "tokens": 0,
    "trained_tokens": 0,
    "conversation_ids": [],
}
NO_DATA: Final = Snapshot(
    path=Path(),
    manifest={
        "name": "",
        "remarks": [],
        "settings": {},
        "files": {},
        "schema": SCHEMA,
        "splits": dict.fromkeys(SPLITS, _NO_CONVERSATIONS),
    },
)
"""The data set of a model of which it is not known what it learnt from."""


def write_snapshot(
    datasets: Path, splits: Mapping[str, Iterable[Record]], facts: DatasetFacts
) -> Snapshot:
    """Write a data set into its place, unless the same one is there already.

    Args:
        datasets: The folder of all data sets.
        splits: The records of each of :data:`SPLITS`.
        facts: What else the manifest says; plain JSON values without times or places, because
            they are part of the name.

    Raises:
        StorageError: if it cannot be written.
    """
    contents = {
        f"{split}.jsonl": "".join(record.to_line() + "\n" for record in splits[split]).encode()
        for split in SPLITS
    }
    files: dict[str, FileEntry] = {
        name: {
            "sha256": f"sha256:{hashlib.sha256(content).hexdigest()}",
            "size_bytes": len(content),
        }
        for name, content in contents.items()
    }
    name = content_name({**facts, "schema": SCHEMA, "files": files})
    manifest: DatasetManifest = {**facts, "schema": SCHEMA, "files": files, "name": name}
    path = datasets / folder_name(name)
    if _is_sound(path):
        return Snapshot(path=path, manifest=manifest)
    with whole_folder(path) as folder:
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        # Last, so that a folder with a manifest is a whole one.
        text = json.dumps(manifest, indent=2, ensure_ascii=False, sort_keys=True)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return Snapshot(path=path, manifest=manifest)


def folder_name(name: str) -> str:
    """Return a content name as a folder's: a colon is not allowed everywhere."""
    return name.replace(":", "-")


def load_snapshot(path: Path | str) -> Snapshot:
    """Open a data set and derive its name again from its files.

    Raises:
        DataError: if there is none, it is torn, a file was changed, or it is of another schema.
        StorageError: if a file is there and may not be read.
    """
    folder = Path(path)
    manifest = _read_manifest(folder)
    for split in SPLITS:
        _check_file(folder / f"{split}.jsonl", manifest["files"].get(f"{split}.jsonl"))
    derived = content_name({key: value for key, value in manifest.items() if key != "name"})
    if manifest.get("name") != derived:
        raise _damaged(folder, f"{MANIFEST} says {manifest.get('name')} and its content {derived}")
    if folder.name.startswith("b2-") and folder.name != folder_name(derived):
        raise _damaged(folder, f"its content is named {derived}")
    return Snapshot(path=folder, manifest=manifest)


def snapshot_members(datasets: Path) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return which conversations the data sets of a folder hold: ids by split, by content name.

    Reads manifests only and checks no file; a folder without a readable one is passed over.
    """
    found = {}
    for folder in sorted(datasets.glob("b2-*")):
        try:
            manifest = _read_manifest(folder)
            found[str(manifest["name"])] = _conversation_ids(manifest)
        except (DataError, KeyError):
            continue
    return found


def newest_snapshot(datasets: Path, base_digest: str) -> Snapshot | None:
    """Open the data set of a folder that was made last for a base; None if there is none.

    Raises:
        DataError: if it is damaged.
    """
    made: list[tuple[int, str]] = []
    for folder in datasets.glob("b2-*"):
        try:
            manifest = _read_manifest(folder)
        except DataError:
            continue
        if dict(manifest.get("base_model") or {}).get("digest") == base_digest:
            made.append(((folder / MANIFEST).stat().st_mtime_ns, folder.name))
    return load_snapshot(datasets / max(made)[1]) if made else None


def _conversation_ids(manifest: DatasetManifest) -> dict[str, tuple[str, ...]]:
    splits = manifest["splits"]
    return {split: tuple(splits[split]["conversation_ids"]) for split in SPLITS}


def _read_manifest(folder: Path) -> DatasetManifest:
    path = folder / MANIFEST
    if not folder.is_dir():
        raise DataError(f"there is no data set at {folder}", next_command=REBUILD)
    if not path.is_file():
        raise _damaged(folder, f"it has no {MANIFEST}, so it was never finished")
    try:
        with storage_errors(path):
            manifest: DatasetManifest = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _damaged(folder, f"{MANIFEST} is no JSON: {error}") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise _damaged(folder, f"{MANIFEST} lists no files")
    if manifest.get("schema") != SCHEMA:
        raise DataError(
            f"the data set {folder} has schema {manifest.get('schema')!r}, expected {SCHEMA!r}",
            next_command=REBUILD,
        )
    return manifest


def _check_file(path: Path, expected: object) -> None:
    if not isinstance(expected, dict):
        raise _damaged(path.parent, f"{MANIFEST} does not list {path.name}")
    if not path.is_file():
        raise _damaged(path.parent, f"{path.name} is missing")
    with storage_errors(path):
        size_bytes = path.stat().st_size
        digest = file_sha256(path) if size_bytes == expected.get("size_bytes") else ""
    if not digest:
        raise _damaged(
            path.parent,
            f"{path.name} has {size_bytes} bytes, expected {expected.get('size_bytes')}",
        )
    if digest != expected.get("sha256"):
        raise _damaged(path.parent, f"{path.name} was changed after it was written")


def _damaged(folder: Path, what: str) -> DataError:
    return DataError(f"the data set {folder} is damaged: {what}", next_command=REBUILD)


def _is_sound(path: Path) -> bool:
    try:
        load_snapshot(path)
    except DataError:
        return False
    return True
