"""Held-out loss by rank, scale, learning rate, batch size and epochs, on small sets of real chats.

    python -m benchmarks.defaults [--arms rate rank ...] [--seeds 0 1] [--data chitchat faq]

Each arm trains SmolLM2 on 48 short chats and is judged after every epoch on 24 others; printed are
the means over the seeds, and the spread between them. Arms change one thing against the others.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from benchmarks.real_text import perl_faq_pairs
from benchmarks.training.ours import examples
from benchmarks.training.workloads import BATCH_SIZE, make_workload
from fine_tuning.core.clock import SystemClock
from fine_tuning.core.events import RunEvent
from fine_tuning.core.example import Example, TokenizedExample
from fine_tuning.data_preparation.masking import ExampleTokenizer
from fine_tuning.engine.decoder import Decoder
from fine_tuning.runtimes.base_model import resolve_base_model
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.training.adapter_training import AdapterTraining
from fine_tuning.training.fresh_adapter import fresh_adapter
from fine_tuning.training.lr_finder import find_rate
from fine_tuning.training.plan import TrainingData, TrainingPlan
from fine_tuning.training.trainer_utils import Surroundings, TrainingLoop

NUM_TRAIN, NUM_HELD_OUT, MAX_TOKENS = 48, 24, 256
BASE = TrainingPlan(patience=0, checkpoint_every=0, checkpoint_every_s=0, num_epochs=3)
RATES = (2e-4, 5e-4, 1e-3, 2e-3, 4e-3)


def arms() -> dict[str, list[tuple[str, TrainingPlan]]]:
    """Return the plans to compare, by what they vary."""
    best = replace(BASE, learning_rate=1e-3)
    ranks = [(4, False), (8, False), (16, False), (16, True), (64, False), (64, True)]
    return {
        "rate": [(f"{rate:g}", replace(BASE, learning_rate=rate)) for rate in RATES],
        "rank": [
            (
                f"r={rank}, alpha {2 * rank}{', rsLoRA' if rooted else ''}",
                replace(best, rank=rank, alpha=2.0 * rank, use_rslora=rooted),
            )
            for rank, rooted in ranks
        ],
        "batch": [
            (f"batch {size}, rate {rate:g}", replace(BASE, batch_size=size, learning_rate=rate))
            for size, rate in ((1, 5e-4), (2, 5e-4), (2, 1e-3), (8, 1e-3), (8, 2e-3))
        ],
    }


def chitchat(model: Path) -> TrainingData:
    """Return chats between people, strung together to 90 to 180 tokens."""
    made = make_workload("short", model, NUM_TRAIN // BATCH_SIZE)
    train = [each for batch in made["batches"] for each in examples(batch)]
    return TrainingData(train=train, validation=examples(made["held_out"])[:NUM_HELD_OUT])


def faq(model: Path) -> TrainingData:
    """Return questions of Perl's FAQ with their answers."""

    def tokenized() -> Iterator[TokenizedExample]:
        with EmbeddedServer(model, context_tokens=2048) as server:
            tokenizer = ExampleTokenizer(server.tokenizer, server.renderer, max_length=1024)
            for pair in perl_faq_pairs():
                whole = Example(conversation_id=pair.id, messages=pair.messages, targets=(1,))
                for sequence in tokenizer.tokenize(whole).sequences:
                    if len(sequence.ids) <= MAX_TOKENS:
                        yield sequence

    taken = list(islice(tokenized(), NUM_TRAIN + NUM_HELD_OUT))
    held_out = taken[:: len(taken) // NUM_HELD_OUT][:NUM_HELD_OUT]
    chosen = {each.example_id for each in held_out}
    train = [each for each in taken if each.example_id not in chosen]
    return TrainingData(train=train, validation=held_out)


def trained(decoder: Decoder, data: TrainingData, plan: TrainingPlan) -> list[float]:
    """Return the held-out losses before training and after each epoch."""
    losses: list[float] = []

    class Hears:
        def on_event(self, event: RunEvent) -> None:
            if event.kind == "validation":
                losses.append(float(event.values["validation_loss"]))  # type: ignore[arg-type]

    around = Surroundings(
        listener=Hears(), clock=SystemClock(), save=lambda _: None, stop_requested=lambda: False
    )
    adapter = fresh_adapter(decoder, plan)
    TrainingLoop(AdapterTraining(decoder, adapter), data, plan, around).run()
    return losses


def main() -> None:
    """Train all arms and print a table each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arms", nargs="+", default=list(arms()))
    parser.add_argument("--data", nargs="+", choices=("chitchat", "faq"), default=["chitchat"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    given = parser.parse_args()
    model = resolve_base_model("embedded").path
    torch.set_num_threads(1)
    for name in given.data:
        data = (chitchat if name == "chitchat" else faq)(model)
        tokens = sum(len(each.ids) for each in data.train)
        print(f"\n{name}: {len(data.train)} chats, {tokens} tokens an epoch", flush=True)
        with Decoder.open(model) as decoder:
            for kind in given.arms:
                for label, plan in arms()[kind]:
                    tell(label, decoder, data, plan, given.seeds)
            for seed in given.seeds:
                plan = replace(BASE, seed=seed)
                found = find_rate(partial(fresh_training, decoder, plan), data, plan)
                print(f"probe, seed {seed}: {found.reason}", flush=True)


def fresh_training(decoder: Decoder, plan: TrainingPlan) -> AdapterTraining:
    """Return an untrained adapter."""
    return AdapterTraining(decoder, fresh_adapter(decoder, plan))


def tell(
    label: str, decoder: Decoder, data: TrainingData, plan: TrainingPlan, seeds: list[int]
) -> None:
    """Train one arm with every seed and print its line."""
    began_s = time.process_time()
    runs = [trained(decoder, data, replace(plan, seed=seed)) for seed in seeds]
    cpu_s = (time.process_time() - began_s) / len(seeds)
    means = [statistics.mean(losses) for losses in zip(*runs, strict=True)]
    spread = max(run[-1] for run in runs) - min(run[-1] for run in runs)
    told = " ".join(f"{loss:.3f}" for loss in means)
    print(f"{label}: {told} (seeds {spread:.3f} apart; {cpu_s:.0f} CPU s)", flush=True)


if __name__ == "__main__":
    main()
