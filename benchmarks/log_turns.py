"""Measure what logging a turn costs: four processes, durable, both stores.

Run: python benchmarks/log_turns.py [folder]       (make bench-logging)
The folder decides which disk is measured; by default the current one. Every call returns only
when its turn is on disk. Two loads: each writer as fast as it can, and each at ten turns a second,
which is already a hundred times what a chatbot has to write. Turns come at random moments, as chats
do. ``disk alone`` is what the disk takes for the same bytes without any store.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from fine_tuning.data_collection.conversation_logger import ConversationLogger

NUM_WRITERS = 4
TURNS_AT_FULL_SPEED = 1500
PACED_TURNS = 150
PACE_PER_S = 10
QUESTION = "How do I get the wax out of a tablecloth? " * 3
REPLY = "Let it harden, scrape it off, then iron the rest out through paper. " * 8
LIMIT_MS = 5.0


def main(folder: Path) -> int:
    """Print a line per store and load; return 1 if any 99th percentile is above the limit."""
    print(f"disk: {disk_of(folder)}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print("writers  store  load        turns/s   p50 ms   p99 ms   max ms")
    for pace_per_s in (0, PACE_PER_S):
        p50, p99 = np.percentile(disk_alone(folder, pace_per_s), [50, 99])
        load = "10/s each" if pace_per_s else "full speed"
        print(f"{1:7}  disk alone {load:10} {p50:12.2f} {p99:8.2f}")
    worst = 0.0
    for suffix in (".jsonl", ".db"):
        for load, turns, pace_per_s in (
            ("full speed", TURNS_AT_FULL_SPEED, 0),
            ("10/s each", PACED_TURNS, PACE_PER_S),
        ):
            with tempfile.TemporaryDirectory(dir=folder, prefix="log-turns-") as home:
                times_ms, rate = measure(Path(home) / f"log{suffix}", turns, pace_per_s)
            p50, p99 = np.percentile(times_ms, [50, 99])
            worst = max(worst, float(p99))
            print(
                f"{NUM_WRITERS:7}  {suffix:6} {load:10} {rate:8.0f} {p50:8.2f} {p99:8.2f} "
                f"{times_ms.max():8.2f}"
            )
    print(f"worst p99 {worst:.2f} ms, limit {LIMIT_MS:g} ms")
    return int(worst > LIMIT_MS)


def measure(path: Path, turns: int, pace_per_s: float) -> tuple[np.ndarray, float]:
    """Let the writers log at once; return the time of every call and the turns a second."""
    context = get_context("spawn")
    pipes, processes = [], []
    for _ in range(NUM_WRITERS):
        ours, theirs = context.Pipe()
        process = context.Process(target=write, args=(path, turns, pace_per_s, theirs))
        process.start()
        pipes.append(ours)
        processes.append(process)
    for pipe in pipes:
        pipe.recv()  # ready
    start_s = time.perf_counter()
    for pipe in pipes:
        pipe.send("go")
    times = [pipe.recv() for pipe in pipes]
    took_s = time.perf_counter() - start_s
    for process in processes:
        process.join()
    found = ConversationLogger(path).get_conversation_stats()["total_turns"]
    if found != NUM_WRITERS * (turns + 1):
        raise SystemExit(f"{found} turns in the log, expected {NUM_WRITERS * (turns + 1)}")
    return np.concatenate(times) * 1000, NUM_WRITERS * turns / took_s


def write(path: Path, turns: int, pace_per_s: float, pipe: Connection) -> None:
    """Log turns and send the seconds each took; a first one, not counted, opens the store."""
    logger = ConversationLogger(path)
    logger.log_conversation(QUESTION, REPLY)
    pipe.send("ready")
    pipe.recv()
    times: list[float] = []
    draw = random.Random()
    for number in range(turns):
        if pace_per_s:
            time.sleep(draw.expovariate(pace_per_s))
        start_s = time.perf_counter()
        logger.log_conversation(QUESTION, REPLY, {"model": "m", "number": number})
        times.append(time.perf_counter() - start_s)
    pipe.send(np.array(times))


def disk_alone(folder: Path, pace_per_s: float) -> np.ndarray:
    """Return the milliseconds that appending a turn's bytes and syncing them takes."""
    data = (QUESTION + REPLY).encode()
    times: list[float] = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(PACED_TURNS if pace_per_s else TURNS_AT_FULL_SPEED):
            time.sleep(1 / pace_per_s / NUM_WRITERS if pace_per_s else 0)
            start_s = time.perf_counter()
            os.write(file.fileno(), data)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - start_s)
    return np.array(times) * 1000


def disk_of(folder: Path) -> str:
    """Return the mount, file system and device a folder lies on."""
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields = line.split()
        if fields[2] == wanted:
            kind, source = fields[fields.index("-") + 1 :][:2]
            return f"{source} ({kind}){_spins(wanted)}"
    return f"device {wanted}"


def _spins(device: str) -> str:
    for level in ("", "/.."):
        queue = Path(f"/sys/dev/block/{device}{level}/queue/rotational")
        if queue.exists():
            return ", a spinning disk" if queue.read_text().strip() == "1" else ", solid state"
    return ""


def run(arguments: Sequence[str]) -> int:
    """Measure the disk of the folder named, or of the current one."""
    return main(Path(arguments[0] if arguments else ".").resolve())


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
