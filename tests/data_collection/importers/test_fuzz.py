"""Whatever a file holds, importing it ends in conversations, records set aside or one sentence."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from fine_tuning.core.errors import DataError, StorageError
from fine_tuning.data_collection.importers.catalogue import read_file
from fine_tuning.data_collection.importers.items import Imported, Quarantined
from fine_tuning.storage.json_lines import encode
from tests.data_collection.importers.exports import ASSISTANT, EXPORTS, importer_of
from tests.data_collection.importers.mutations import damaged

FEW = 400
MANY = int(os.environ.get("FUZZ_INPUTS", "20000"))


def fuzz(folder: Path, inputs: int, seed: int) -> dict[str, int]:
    """Import damaged files; return how many ended how."""
    contents = {}
    for name, write in EXPORTS.items():
        write(folder / name)
        contents[name] = (folder / name).read_bytes()
    draw = random.Random(seed)
    names = sorted(contents)
    ends = dict.fromkeys(("conversations", "quarantined", "refused"), 0)
    for number in range(inputs):
        name = names[number % len(names)]
        path = folder / f"damaged{Path(name).suffix}"
        path.write_bytes(damaged(contents[name], draw))
        chosen = importer_of(name) if draw.random() < 0.5 else None
        try:
            for item in read_file(path, chosen, ASSISTANT):
                ends["conversations" if isinstance(item, Imported) else "quarantined"] += 1
                check(item)
        except (DataError, StorageError) as error:
            ends["refused"] += bool(error.message)
        except Exception as error:
            path.rename(folder / "culprit")
            raise AssertionError(f"input {number} of seed {seed}, {name}, as {chosen}") from error
    return ends


def check(item: Imported | Quarantined) -> None:
    if isinstance(item, Quarantined):
        assert item.reason
        encode([item.line, item.reason, item.excerpt])
        return
    for feedback in item.feedback:
        encode(feedback.to_dict())
    if item.conversation is not None:
        encode(item.conversation.to_dict())
        known = set()
        for message in item.conversation.messages:
            assert isinstance(message.text, str)
            assert message.id not in known
            known.add(message.id)


def test_some_damaged_files(tmp_path: Path) -> None:
    ends = fuzz(tmp_path, FEW, seed=0)
    assert all(ends.values()), ends


@pytest.mark.slow
def test_many_damaged_files(tmp_path: Path) -> None:
    """``make fuzz-importers`` runs this with a hundred thousand."""
    ends = fuzz(tmp_path, MANY, seed=random.randrange(2**32))
    print(f"{MANY} damaged files: {ends}")  # noqa: T201 - the figures are why one runs it
    assert all(ends.values()), ends
