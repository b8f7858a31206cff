"""What a training step costs in two checkouts, step for step in turn, on the embedded model.

    OMP_NUM_THREADS=1 python -m benchmarks.step --against ../main

Each checkout is a process of its own that opens the model once; a step is the gradient of one batch
of four sequences, in CPU seconds of its process. The two take turns, so that what else the machine
does meets both. The batches, losses and gradients MUST be equal to the bit, or it says so.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

PAIRS = 9
LENGTHS = (48, 64, 96, 128)


def serve() -> None:
    """Compute a step for every line on standard input; print its CPU seconds, loss and digest."""
    import torch

    from fine_tuning.core.example import TokenizedExample
    from fine_tuning.engine.decoder import Decoder
    from fine_tuning.runtimes.base_model import resolve_base_model
    from fine_tuning.training.adapter_run import (
        AdapterTraining,
        fresh_adapter,
    )
    from fine_tuning.training.plan import TrainingPlan

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    batch = [
        TokenizedExample(
            example_id=str(length),
            conversation_id=str(length),
            ids=tuple(torch.randint(1000, 40000, (length,), generator=generator).tolist()),
            mask=tuple(int(place >= length // 3) for place in range(length)),
        )
        for length in LENGTHS
    ]
    scale = 1 / sum(example.num_targets for example in batch)
    with Decoder.open(resolve_base_model("embedded").path) as decoder:
        training = AdapterTraining(decoder, fresh_adapter(decoder, TrainingPlan()))
        for _ in sys.stdin:
            for parameter in training.parameters():
                parameter.grad = None
            began_s = time.process_time()
            loss = training.accumulate(batch, scale=scale).loss_sum
            took_s = time.process_time() - began_s
            digest = hashlib.blake2b(digest_size=8)
            for parameter in training.parameters():
                digest.update(parameter.grad.numpy().tobytes())
            print(json.dumps([took_s, loss, digest.hexdigest()]), flush=True)


def main() -> None:
    """Let two checkouts take turns, and print the ratio of what they cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--serve", action="store_true")
    given = parser.parse_args()
    if given.serve:
        serve()
        return
    checkouts = {"before": given.against.absolute(), "after": Path.cwd()}
    servers = {
        name: subprocess.Popen(
            [sys.executable, __file__, "--serve"],
            cwd=path,
            env={**os.environ, "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, path in checkouts.items()
    }
    costs: dict[str, list[float]] = {name: [] for name in servers}
    results: set[tuple[float, str]] = set()
    for number in range(PAIRS + 1):  # the first warms up
        for name in sorted(servers, reverse=bool(number % 2)):
            server = servers[name]
            if server.stdin is None or server.stdout is None or server.poll() is not None:
                raise SystemExit(f"{name} ended with {server.poll()}")
            print(number, file=server.stdin, flush=True)
            took_s, loss, digest = json.loads(server.stdout.readline())
            results.add((loss, digest))
            if number:
                costs[name].append(took_s)
    for server in servers.values():
        server.communicate()
    ratios = sorted(b / a for a, b in zip(costs["before"], costs["after"], strict=True))
    quarter = len(ratios) // 4
    print(
        json.dumps(
            {
                "cpu_s": {name: statistics.median(own) for name, own in costs.items()},
                "least_cpu_s": {name: min(own) for name, own in costs.items()},
                "ratio": statistics.median(ratios),
                "quartiles": [ratios[quarter], ratios[-1 - quarter]],
                "range": [ratios[0], ratios[-1]],
                "pairs": len(ratios),
                "equal_to_the_bit": len(results) == 1,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
