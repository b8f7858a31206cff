"""A checkpoint comes back as it was written, or counts for nothing."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fine_tuning.training.checkpoints import Checkpoint, CheckpointFolder, LoopProgress


def checkpoint(step: int, *, with_best: bool = True) -> Checkpoint:
    generator = torch.Generator().manual_seed(step)

    def tensors(*names: str) -> dict[str, torch.Tensor]:
        return {name: torch.randn(3, 5, generator=generator) for name in names}

    return Checkpoint(
        progress=LoopProgress(step=step, last_loss=0.1 + 0.2, best_step=2, elapsed_s=1.5),
        adapter=tensors("a", "b"),
        optimizer={**tensors("0.exp_avg"), "0.step": torch.tensor(float(step))},
        best=tensors("a", "b") if with_best else None,
    )


def assert_same(found: Checkpoint | None, expected: Checkpoint) -> None:
    assert found is not None
    assert found.progress == expected.progress
    assert found.files().keys() == expected.files().keys()
    for name, tensors in expected.files().items():
        assert found.files()[name].keys() == tensors.keys()
        assert all(torch.equal(found.files()[name][key], tensors[key]) for key in tensors)


@pytest.mark.parametrize("with_best", [True, False])
def test_round_trip(tmp_path: Path, with_best: bool) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints")
    assert folder.latest() is None
    folder.save(checkpoint(4, with_best=with_best))
    assert_same(folder.latest(), checkpoint(4, with_best=with_best))


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    for step in (1, 2, 10, 9):
        folder.save(checkpoint(step))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000009", "step-00000010"]


def test_the_same_step_may_be_saved_again(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(checkpoint(3))
    later = checkpoint(3, with_best=False)
    later = replace(later, progress=replace(later.progress, evaluated_step=3))
    folder.save(later)
    assert_same(folder.latest(), later)
    assert len(list(tmp_path.iterdir())) == 1


FILES = ("adapter.safetensors", "optimizer.safetensors", "best.safetensors", "state.json")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "flipped"])
def test_a_torn_checkpoint_is_passed_over(tmp_path: Path, name: str, damage: str) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(checkpoint(1))
    victim = folder.save(checkpoint(2)) / name
    content = victim.read_bytes()
    victim.unlink()
    if damage != "missing":
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 0x80]) + content[middle + 1 :]
        victim.write_bytes({"empty": b"", "cut": content[:-1], "flipped": flipped}[damage])
    assert_same(folder.latest(), checkpoint(1))


def test_what_a_killed_writer_left_is_no_checkpoint_and_is_cleared(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    whole = folder.save(checkpoint(1))
    shutil.copytree(whole, tmp_path / ".step-00000002.abc")
    assert_same(folder.latest(), checkpoint(1))
    folder.clear_torn()
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
