"""Compare training speed and memory with TRL's, arm against arm, on the same tokens.

Run: python -m benchmarks.training [--workloads short ...] [--arms ...] [--rounds 2] [--steps 4]
(`make bench-training` also makes the peers' environment.)

Each arm is a process of its own with one thread; the arms take turns, round after round, and each
prints CPU seconds a step (the first step warms up and is not counted). All arms see the same ids
and masks, by hash, and must agree on the first step's loss. Ratios are the claim; absolute figures
are this machine's.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.training.arms import (
    ARMS,
    CAPS,
    PEERS_PYTHON,
    RESULTS,
    ROOT,
    processor,
    run_arm,
    say,
)
from benchmarks.training.workloads import BATCH_SIZE, LENGTHS, make_workload
from fine_tuning.engine.decoder import Decoder
from fine_tuning.runtimes.base_model import resolve_base_model

REFERENCE = "trl default"
LORA_RANK = 16


class Shape(NamedTuple):
    """What the FLOPs of a step are counted from (performance formula in :func:`useful_flops`)."""

    body: int
    head: int
    lora: int
    layers: int
    query_width: int

    @classmethod
    def of(cls, model: Path) -> Shape:
        """Read a model's numbers."""
        with Decoder.open(model) as decoder:
            shapes = decoder.linear_shapes.values()
            heads, shape = decoder.shape.heads, decoder.shape
            return cls(
                body=sum(n_out * n_in for n_out, n_in in shapes),
                head=decoder.head.matrix.n_out * decoder.head.matrix.n_in,
                lora=sum(LORA_RANK * (n_out + n_in) for n_out, n_in in shapes),
                layers=shape.num_layers,
                query_width=heads.n_q * heads.d,
            )


def useful_flops(shape: Shape, batches: Sequence[Sequence[dict[str, Any]]]) -> float:
    """Return the floating-point operations a step cannot do without, no recomputing counted.

    4 N a token for the frozen body (forward, and backward to its input), 6 N_l for LoRA, 4 N_h a
    learnt token for the frozen head, 7 S n_q d L a token for causal attention.
    """
    total = 0.0
    for batch in batches:
        for sequence in batch:
            length = len(sequence["ids"])
            total += length * (4 * shape.body + 6 * shape.lora)
            total += sum(sequence["mask"]) * 4 * shape.head
            total += 7 * length * length * shape.query_width * shape.layers
    return total / len(batches)


def main() -> None:
    """Measure, print and write the results."""
    given = arguments()
    model = resolve_base_model("embedded").path
    lines = [header(given, model)]
    for name in given.workloads:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "workload.json"
            workload = make_workload(name, model, given.steps)
            workload["batches"] = [batch[: given.chats] for batch in workload["batches"]]
            path.write_text(json.dumps(workload))
            found = measure(given, path, model)
        lines.append(table(name, workload["batches"], found, Shape.of(model)))
        say(lines[-1])
    if given.save:
        RESULTS.mkdir(exist_ok=True)
        kind = f"training-{given.cap}-" if given.cap else "training-"
        named = "" if given.workloads == list(LENGTHS) else "-".join(given.workloads) + "-"
        target = RESULTS / f"{kind}{named}{dt.datetime.now(dt.UTC).date()}.md".replace(" ", "-")
        target.write_text("\n".join(lines))
        say(f"written to {target.relative_to(ROOT)}")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workloads", nargs="+", choices=LENGTHS, default=list(LENGTHS))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--chats", type=int, default=BATCH_SIZE, help="chats a step, at most 8")
    parser.add_argument("--cap", choices=CAPS, default="", help="instruction set all arms keep to")
    parser.add_argument("--peers", type=Path, default=PEERS_PYTHON)
    parser.add_argument("--save", action="store_true", help="write the tables beside this file")
    return parser.parse_args()


def measure(given: argparse.Namespace, workload: Path, model: Path) -> dict[str, list[Any]]:
    """Run the arms in turns; return each arm's results, one per round."""
    found: dict[str, list[Any]] = {arm: [] for arm in given.arms}
    for round_number in range(given.rounds):
        for arm in given.arms:
            say(f"round {round_number + 1} of {given.rounds}: {arm}", to=sys.stderr)
            result = run_arm(
                arm, workload, model, "--steps", given.steps, cap=given.cap, peers=given.peers
            )
            found[arm].append(result)
    return found


def table(
    name: str,
    batches: Sequence[Sequence[dict[str, Any]]],
    found: dict[str, list[Any]],
    shape: Shape,
) -> str:
    """Return the workload's results in Markdown."""
    hashes = {result["batches_sha256"] for results in found.values() for result in results}
    first = {arm: results[0]["steps"][0]["loss"] for arm, results in found.items()}
    tokens = [len(sequence["ids"]) for batch in batches for sequence in batch]
    learnt = sum(sum(sequence["mask"]) for batch in batches for sequence in batch)
    lines = [
        (
            f"\n## {name}: {len(batches)} batches of {len(batches[0])}, "
            f"{sum(tokens) / len(batches):.0f} tokens a step "
            f"({min(tokens)} to {max(tokens)} a chat), {100 * learnt / sum(tokens):.0f} % learnt\n"
        ),
        (
            "| arm | CPU s a step | tokens/s/core | learnt tokens/s/core | of measured GEMM peak "
            "| peak memory | times TRL default |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    rates = {arm: rate(results) for arm, results in found.items()}
    flops = useful_flops(shape, batches[1:] or batches)
    for arm, results in found.items():
        peak = statistics.median(sum(r["probe_tflops"]) / 2 for r in results)
        step_s = statistics.median(step["cpu_s"] for r in results for step in r["steps"][1:])
        # Fast mode leaves most of the model out, so the formula says nothing about it.
        useful = "-" if arm.endswith("fast") else f"{100 * flops / step_s / (peak * 1e12):.0f} %"
        ratio = f"{rates[arm] / rates[REFERENCE]:.1f}" if REFERENCE in rates else ""
        memory = max(r["peak_rss_bytes"] for r in results) / 2**30
        bare = results[0]["torch_rss_bytes"] / 2**30
        lines.append(
            f"| {arm} | {step_s:.2f} | {rates[arm]:.0f} | {rates[arm] * learnt / sum(tokens):.0f} "
            f"| {useful} of {peak:.2f} TFLOP/s | {memory:.2f} GiB "
            f"({bare:.2f} of it torch) | {ratio} |"
        )
    fill = [result["fill_cpu_s"] for result in found.get("ours fast", ())]
    if fill:
        lines.append(
            f"\n`ours fast` adapts the last quarter of the layers; its steps are those from the "
            f"second epoch on. What its first epoch costs beside them: {min(fill):.1f} CPU s."
        )
    spread = (max(first.values()) - min(first.values())) / min(first.values())
    told = ", ".join(f"{arm} {loss:.4f}" for arm, loss in first.items())
    lines.append(
        f"\nSame ids and masks in all arms: {'yes' if len(hashes) == 1 else 'NO'} "
        f"({min(hashes)[:12]}). First loss, spread {100 * spread:.2f} %: {told}."
    )
    return "\n".join(lines)


def rate(results: Sequence[Any]) -> float:
    """Return tokens per CPU second: the median over all steps but each process's first."""
    return statistics.median(
        step["num_tokens"] / step["cpu_s"] for result in results for step in result["steps"][1:]
    )


def header(given: argparse.Namespace, model: Path) -> str:
    """Return what the figures were measured on and with."""
    peers = subprocess.run(
        [given.peers, "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    names = ("torch=", "trl=", "peft=", "transformers=", "bitsandbytes=")
    versions = ", ".join(line for line in peers if line.startswith(names))
    return (
        f"# LoRA training, one thread, {model.name}, rank 16 on all linear layers\n\n"
        f"{dt.datetime.now(dt.UTC).date()}, {processor()}, "
        f"{given.rounds} rounds of {given.steps} steps"
        f"{f', every arm capped to {given.cap}' if given.cap else ''}. Peers: {versions}. "
        "`trl best`: no gradient checkpointing, pure bfloat16 or float32, whichever this processor "
        "multiplies faster."
    )


if __name__ == "__main__":
    main()
