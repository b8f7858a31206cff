"""A real model, tiny: next token from the last two, trained by autograd; and the run around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from safetensors.torch import save_file

from fine_tuning.core.events import RunEvent
from fine_tuning.core.example import TokenizedExample
from fine_tuning.core.run import Run
from fine_tuning.training.checkpoints import Checkpoint
from fine_tuning.training.plan import TrainingData, TrainingPlan
from fine_tuning.training.run_folder import (
    RunFolder,
    RunSettings,
    current_versions,
)
from fine_tuning.training.run_lifecycle import Listening, carry_out
from fine_tuning.training.trainer_utils import Surroundings, TrainingLoop

VOCABULARY = 23


@dataclass(frozen=True)
class Loss:
    loss_sum: float
    num_targets: int
    num_tokens: int


class BigramModel:
    """Embeddings of the last two tokens, one hidden layer, a softmax."""

    def __init__(self, seed: int = 0, width: int = 16) -> None:
        generator = torch.Generator().manual_seed(seed)

        def leaf(*shape: int) -> torch.Tensor:
            return (torch.randn(*shape, generator=generator) * 0.3).requires_grad_()

        self._tensors = {
            "embedding": leaf(VOCABULARY, width),
            "hidden": leaf(2 * width, 2 * width),
            "output": leaf(2 * width, VOCABULARY),
        }

    def parameters(self) -> list[torch.Tensor]:
        return list(self._tensors.values())

    def _loss(self, batch: Sequence[TokenizedExample]) -> tuple[torch.Tensor, Loss]:
        pairs, targets = [], []
        for example in batch:
            for i in range(1, len(example.ids)):
                if example.mask[i]:
                    pairs.append((example.ids[max(0, i - 2)], example.ids[i - 1]))
                    targets.append(example.ids[i])
        embedded = self._tensors["embedding"][torch.tensor(pairs)].flatten(1)
        logits = torch.tanh(embedded @ self._tensors["hidden"]) @ self._tensors["output"]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(targets), reduction="sum")
        return loss, Loss(loss.item(), len(targets), sum(len(example.ids) for example in batch))

    def size(self, batch: Sequence[TokenizedExample]) -> float:
        return float(sum(example.num_targets for example in batch))

    def accumulate(self, batch: Sequence[TokenizedExample], *, scale: float) -> Loss:
        loss, result = self._loss(batch)
        (loss * scale).backward()
        return result

    @torch.no_grad()
    def evaluate(self, batch: Sequence[TokenizedExample]) -> Loss:
        return self._loss(batch)[1]

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {name: tensor.detach() for name, tensor in self._tensors.items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        for name, tensor in self._tensors.items():
            tensor.copy_(state[name])


def sequences(count: int, seed: int = 0) -> list[TokenizedExample]:
    """Sequences of ragged length that follow a rule, so that there is something to learn."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for number in range(count):
        length = int(torch.randint(4, 20, (1,), generator=generator))
        ids = [int(torch.randint(0, VOCABULARY, (1,), generator=generator))]
        while len(ids) < length:
            ids.append((3 * ids[-1] + 1 + len(ids) % 2) % VOCABULARY)
        prompt = int(torch.randint(1, length - 1, (1,), generator=generator))
        mask = [0] * prompt + [1] * (length - prompt)
        made.append(
            TokenizedExample(
                example_id=f"e{seed}.{number}",
                conversation_id=f"c{seed}.{number}",
                ids=tuple(ids),
                mask=tuple(mask),
            )
        )
    return made


DATA = TrainingData(train=sequences(30), validation=sequences(8, seed=1), snapshot="b2:test")


class Heard:
    """A listener that keeps everything."""

    def __init__(self) -> None:
        self.events: list[RunEvent] = []

    def on_event(self, event: RunEvent) -> None:
        self.events.append(event)

    def values(self, kind: str, name: str) -> list[object]:
        return [event.values[name] for event in self.events if event.kind == kind]


class SteppingClock:
    """Time that passes one second whenever it is looked at."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic_s(self) -> float:
        self._now_s += 1.0
        return self._now_s


class LoopUnderTest:
    """A loop over the tiny model, with everything it told and saved."""

    def __init__(
        self,
        plan: TrainingPlan,
        data: TrainingData = DATA,
        model: BigramModel | None = None,
        stop_after_calls: int = -1,
    ) -> None:
        self.model = model or BigramModel()
        self.heard = Heard()
        self.saved: list[Checkpoint] = []
        self._calls_left = stop_after_calls
        around = Surroundings(
            listener=self.heard,
            clock=SteppingClock(),
            save=self._save,
            stop_requested=self._stop_requested,
        )
        self.loop = TrainingLoop(self.model, data, plan, around)

    def _save(self, checkpoint: Checkpoint) -> None:
        copied = {
            "adapter": {k: v.clone() for k, v in checkpoint.adapter.items()},
            "optimizer": {k: v.clone() for k, v in checkpoint.optimizer.items()},
        }
        self.saved.append(Checkpoint(progress=checkpoint.progress, best=checkpoint.best, **copied))

    def _stop_requested(self) -> bool:
        self._calls_left -= 1
        return self._calls_left == -1


def settings_for(folder: Path, plan: TrainingPlan) -> RunSettings:
    return RunSettings(
        run_id=folder.name,
        method="lora",
        plan=plan,
        base_path="none",
        base_digest="sha256:none",
        base_name="bigram",
        snapshot=DATA.snapshot,
        threads=1,
        compute_dtype="float32",
        compute_dtype_reason="tiny",
        kernels="torch",
        created_at="",
        versions=current_versions(),
        data_digests={},
    )


def run_tiny(
    path: Path,
    plan: TrainingPlan,
    listening: Listening | None = None,
    model: BigramModel | None = None,
    data: TrainingData = DATA,
) -> Run:
    """Begin a run of the tiny model, or go on with the one in the folder."""
    folder = RunFolder(path)
    model = model or BigramModel()
    with folder.locked():
        if not folder.settings_path.exists():
            folder.begin(settings_for(path, plan), data)
        if folder.manifest_path.exists():
            return folder.finished_run()

        def export(place: Path) -> None:
            save_file(model.state_dict(), place / "adapter_model.safetensors")

        return carry_out(folder, folder.settings(), model, export, listening or Listening())


KILL_PLAN = TrainingPlan(
    learning_rate=3e-3,
    num_epochs=25,
    batch_size=3,
    gradient_accumulation=2,
    evaluate_every=4,
    checkpoint_every=7,
    patience=50,
)


def kill_target(folder: Path) -> None:
    """Begin the run the kill tests kill, or go on with it."""
    run_tiny(folder, KILL_PLAN)
