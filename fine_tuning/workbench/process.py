"""How this process behaves on a shared machine, and what it costs: threads, time, memory."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

# OpenMP threads that wait by spinning cost a hundredfold when another program wants the core
# (measured: 33 instead of 900 tokens/s); this many turns keep the speed of an idle machine.
SPIN_COUNT = "20000"
# oneDNN and torch's layer above it keep what they compile for a shape, a thousand each unless told
# otherwise: 0.4 GiB more after 60 steps of ragged chats, and no step is faster (docs/LOG.md).
COMPILED_KEPT = "128"
_CLEAR_PEAK = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_RESET_PEAK_RSS = "5"


def limit_spinning() -> None:
    """Make waiting threads give way, and memory; call it before torch or llama.cpp are loaded.

    A setting of the user's own (``OMP_WAIT_POLICY``, ``GOMP_SPINCOUNT``, ...) stands.
    """
    for cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(cache, COMPILED_KEPT)
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)


@contextmanager
def gc_paused(library: str) -> Iterator[None]:
    """Collect no garbage while the body imports modules, unless ``library`` is loaded already.

    What modules make lives as long as the process: looking through all of it, several times on the
    way, frees nothing and takes a fifth of the time it takes to load torch and the program.
    """
    if library in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCost:
    """What a stage took: wall-clock seconds, and the highest resident memory during it."""

    name: str
    time_s: float
    peak_memory_bytes: int


class CostMeter:
    """Measures stages, one after the other; ``costs`` lists them in order.

    Args:
        on_stage: Told the name of each stage as it begins.
    """

    def __init__(self, on_stage: Callable[[str], None] = lambda _: None) -> None:
        self.costs: list[StageCost] = []
        self._on_stage = on_stage

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the body; a stage that fails is not listed."""
        self._on_stage(name)
        _reset_peak_memory()
        start_s = time.monotonic()
        yield
        cost = StageCost(
            name=name, time_s=time.monotonic() - start_s, peak_memory_bytes=peak_memory_bytes()
        )
        self.costs.append(cost)


def _reset_peak_memory() -> None:
    """Let the kernel count the peak anew; where it cannot, the peak is that of the process."""
    try:
        _CLEAR_PEAK.write_text(_RESET_PEAK_RSS, encoding="ascii")
    except OSError:
        return


def peak_memory_bytes() -> int:
    """Return the highest resident memory of this process since the last reset."""
    try:
        status = _STATUS.read_text(encoding="ascii")
    except OSError:
        return int(psutil.Process().memory_info().rss)
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
