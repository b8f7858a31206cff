"""A base whose file was written anew is the base it was; another one under its name is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fine_tuning.core.errors import TrainingError
from fine_tuning.gguf.fingerprint import tensor_fingerprint
from tests.gguf.test_fingerprint import rewritten
from tests.workbench.trained import Trained, write_base, write_trained


@pytest.fixture
def trained(tmp_path: Path) -> Trained:
    return write_trained(tmp_path)


def note(folder: Path, **facts: str) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts), encoding="utf-8")


def rewrite(base: Path) -> None:
    rewritten(base, base.with_name("new.gguf")).replace(base)


def test_a_rewritten_file_is_the_base_of_its_runs(trained: Trained) -> None:
    note(trained.add_run(1), base_fingerprint=tensor_fingerprint(trained.base))
    trained.add_run(2)
    rewrite(trained.base)
    models = trained.bench().models
    base = models.bases.of_run(models.runs.find("run1"))
    assert base.digest() != models.runs.find("run1").base_digest
    with pytest.raises(TrainingError, match="whose weights are others"):
        models.bases.of_run(models.runs.find("run2"))  # nothing says what its tensors were


def test_an_older_run_is_recognised_by_the_file_it_names(trained: Trained, tmp_path: Path) -> None:
    old = tmp_path / "blob.gguf"
    old.write_bytes(trained.base.read_bytes())
    note(trained.add_run(1), base_path=str(old))
    rewrite(trained.base)
    models = trained.bench().models
    assert models.bases.of_run(models.runs.find("run1")).path == trained.base
    assert models.bases.have_one_base(models.runs.find("run1"), models.runs.find("run1"))


def test_other_weights_under_the_name_are_refused(trained: Trained) -> None:
    note(trained.add_run(1), base_fingerprint=tensor_fingerprint(trained.base))
    write_base(trained.base, general__name="another")
    models = trained.bench().models
    assert models.bases.of_run(models.runs.find("run1"))  # another name alone changes no weight
    content = bytearray(trained.base.read_bytes())
    content[-64:] = bytes(64)
    trained.base.write_bytes(content)
    with pytest.raises(TrainingError, match="whose weights are others") as refused:
        models.bases.of_run(models.runs.find("run1"))
    assert "bring that base model back" in (refused.value.next_command or "")
