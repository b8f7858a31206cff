"""Long sessions become windows: every reply is trained on once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data_preparation.strict_templates import GEMMA
from tests.real_inputs.prompts import base_with, masks_of, prepared, trained_on

pytestmark = pytest.mark.real_input("long session in windows")

NAMES = ["Ada", "Björn", "Çelik", "Давид", "Eun-ji", "فاطمة", "Gül", "花子", "Íñigo", "José"]


def session(path: Path, num_exchanges: int, *, system: str = "") -> Path:
    turns = [{"role": "system", "content": system}] if system else []
    for n in range(num_exchanges):
        name = NAMES[n % len(NAMES)]
        asked = f"{name} wants to know what stands in chapter {n} of the manual, and why."
        said = f"Chapter {n} tells {name} about part {n * 7}, since part {n * 3} depends on it."
        turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    path.write_text(json.dumps({"messages": turns}, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("strict", [False, True])
def test_every_reply_is_trained_on_once(tmp_path: Path, strict: bool) -> None:
    base = base_with(tmp_path / "strict.gguf", GEMMA) if strict else "embedded"
    file = session(tmp_path / "long.jsonl", 60, system="Tell of the manual.")
    bench, snapshot = prepared(tmp_path / "home", file, base=base, max_length=512)
    masks = masks_of(bench, snapshot)
    chapters = [int(text.split()[1]) for text in trained_on(masks)]
    assert chapters == list(range(60))
    assert len(masks) > 5
    assert all("Tell of the manual." in mask for mask in masks)
    assert snapshot.manifest["lost_replies"] == {}
    lengths = [len(record.tokenized.ids) for record in snapshot.split("train").records]
    assert max(lengths) <= 512


def test_a_data_set_of_windows_holds_each_window_alone(tmp_path: Path) -> None:
    file = session(tmp_path / "long.jsonl", 40)
    _, snapshot = prepared(tmp_path / "home", file, max_length=512)
    records = snapshot.split("train").records
    assert sum(len(record.example.targets) for record in records) == 40
    assert sum(len(record.example.messages) for record in records) < 2 * 80
