"""Which kernels this machine uses, and why.

The C++ library is an optional extension built at install time. It is looked for beside this file;
without it (no compiler) the torch kernels serve: same results, slower.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fine_tuning.core.errors import ConfigError
from fine_tuning.engine.kernels.cpp import CppKernels
from fine_tuning.engine.kernels.interface import Kernels
from fine_tuning.engine.kernels.torch_kernels import TorchKernels

LEVELS = ("portable", "avx2", "avx512")
LEVEL_VARIABLE = "FINE_TUNING_KERNELS"


@dataclass(frozen=True, slots=True)
class LoadedKernels:
    """Kernels and the reason for the choice, in words for the user."""

    kernels: Kernels
    name: str
    reason: str


def library_path() -> Path | None:
    """Return the compiled library, or None when it was not built."""
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = Path(__file__).parent / f"_kernels{suffix}"
        if path.exists():
            return path
    return None


@cache
def load_kernels(wanted: str | None = None) -> LoadedKernels:
    """Return the fastest kernels available, or those asked for.

    Args:
        wanted: "torch", "portable", "avx2" or "avx512"; None takes the environment variable
            ``FINE_TUNING_KERNELS``, and without it the best of the machine. A level the processor
            lacks gives the best one below it.

    Raises:
        ConfigError: if ``wanted`` is none of these.
    """
    wanted = wanted or os.environ.get(LEVEL_VARIABLE) or LEVELS[-1]
    if wanted not in ("torch", *LEVELS):
        raise ConfigError(
            f"kernels {wanted!r} do not exist, expected one of torch, {', '.join(LEVELS)}",
            next_command=f"unset {LEVEL_VARIABLE}",
        )
    if wanted == "torch":
        return LoadedKernels(TorchKernels(), "torch", "asked for")
    path = library_path()
    if path is None:
        reason = "the C++ kernels were not built (no C++ compiler at install time); slower"
        return LoadedKernels(TorchKernels(), "torch", reason)
    # torch is loaded by now (torch_kernels): its OpenMP runtime serves, no second one comes in.
    try:
        library = ctypes.CDLL(str(path), mode=os.RTLD_NOW)
    except OSError as error:
        return LoadedKernels(TorchKernels(), "torch", f"the C++ kernels do not load: {error}")
    level = LEVELS[library.ft_select_level(LEVELS.index(wanted))]
    reason = "best of this processor" if level == LEVELS[-1] else f"asked for {wanted}"
    return LoadedKernels(CppKernels(library), f"C++ {level}", reason)
