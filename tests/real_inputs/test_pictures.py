"""A picture in the middle costs the reply that needed it, not those behind it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fine_tuning.data_preparation.masking import NOT_TEXT
from tests.real_inputs.pipeline import INPUTS
from tests.real_inputs.prompts import masks_of, prepared, trained_on

pytestmark = pytest.mark.real_input("picture in the middle")


def test_a_picture_of_chatgpt(tmp_path: Path) -> None:
    bench, snapshot = prepared(tmp_path, INPUTS / "lost-replies-unsaid" / "chatgpt_image.json")
    masks = masks_of(bench, snapshot)
    assert trained_on(masks) == [
        "The nightingale sings at night.",
        "Swifts eat insects in the air.",
        "Frogs, mice and worms.",
    ]
    assert "[image]" in masks[0]
    assert "That is a wren." in masks[0]
    assert snapshot.manifest["lost_replies"] == {NOT_TEXT: 1}


def test_pictures_and_files_first_and_in_the_middle(tmp_path: Path) -> None:
    bench, snapshot = prepared(tmp_path, INPUTS / "prompt-shapes" / "pictures.jsonl")
    masks = masks_of(bench, snapshot)
    assert set(trained_on(masks)) == {
        "Mount Fuji is the highest.",
        "It is 3776 metres high.",
        "Auf Englisch heisst es exit.",
        "Auf Italienisch heisst es uscita.",
        "On dit sales en anglais.",
    }
    assert sum(mask.count("[image]") for mask in masks) == 2
    assert "Résume ce fichier.\n[file: rapport.pdf]" in "".join(masks)
    assert snapshot.manifest["lost_replies"] == {NOT_TEXT: 3}
