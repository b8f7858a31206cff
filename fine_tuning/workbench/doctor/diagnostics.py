"""What is installed, what is slow and why, and whether the engine computes what llama.cpp does."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import psutil

from fine_tuning.config.workspace import Workspace
from fine_tuning.core.extras import LIBRARIES, install_command, missing_libraries
from fine_tuning.runtimes.base_model import list_base_models
from fine_tuning.workbench.base_models import BaseModels
from fine_tuning.workbench.context import Context
from fine_tuning.workbench.runs import finished_runs

if TYPE_CHECKING:
    from fine_tuning.workbench.doctor.parity import ParityReport

GIB = 1024**3
PARITY_TEXT = Path(__file__).parents[2] / "data" / "samples" / "README.md"


def check_health(workspace: Workspace) -> dict[str, Any]:
    """Return what matters for speed and correctness on this machine, in words."""
    memory = psutil.virtual_memory()
    models = list_base_models()
    return {
        "python": platform.python_version(),
        "torch": _version("torch"),
        "llama.cpp": f"xllamacpp {_version('xllamacpp')}",
        "sqlite": apsw.sqlite_lib_version(),
        "processor": f"{psutil.cpu_count(logical=False)} cores, {os.cpu_count()} threads",
        "memory": f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free",
        **(engine_facts() if _has_engine() else {}),
        **missing_parts(),
        "base models": ", ".join(model.name for model in models) or "none",
        "workspace": str(workspace.home),
        "finished runs": str(len(finished_runs(workspace))),
    }


def missing_parts() -> dict[str, str]:
    """Return the extras of the package that are not installed whole: what is missing, what helps.

    Returns:
        One entry for each, none when everything is there.
    """
    return {
        f"extra {extra}": f"not installed: {', '.join(missing)}. Next: {install_command(extra)}"
        for extra in LIBRARIES
        if (missing := missing_libraries(extra))
    }


def _has_engine() -> bool:
    return "torch" not in missing_libraries("train")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def engine_facts() -> dict[str, str]:
    """Return the number format and the kernels training computes with, each with the reason."""
    from fine_tuning.engine.compute import compute_dtype  # noqa: PLC0415 - needs the extra train
    from fine_tuning.engine.kernels.library import load_kernels  # noqa: PLC0415 - as above

    dtype, dtype_reason = compute_dtype()
    kernels = load_kernels()
    return {
        "compute dtype": f"{str(dtype).removeprefix('torch.')}: {dtype_reason}",
        "kernels": f"{kernels.name}: {kernels.reason}",
    }


def parity_reports(context: Context, bases: BaseModels, base_name: str) -> list[ParityReport]:
    """Compare the engine with llama.cpp on a base model, and on its newest run if there is one.

    Args:
        context: Settings, workspace and progress.
        bases: The base models there are.
        base_name: Which of them.

    Returns:
        One report for the base, and one for the newest run on it.

    Raises:
        FineTuningError: as the engine and the embedded runtime raise.
    """
    from fine_tuning.workbench.doctor.parity import check_parity  # noqa: PLC0415 - needs the extra train

    base = bases.find(base_name)
    text = PARITY_TEXT.read_text(encoding="utf-8")
    adapters: list[tuple[str, Path | None]] = [(base.name, None)]
    runs = [r for r in finished_runs(context.workspace) if bases.is_base_of(base, r)]
    if runs:
        adapters.append((f"{base.name} + run {runs[-1].run_id}", runs[-1].adapter_file))
    return [
        check_parity(
            base.path,
            text,
            name=name,
            adapter_path=adapter,
            threads=context.settings.training.threads,
            progress=context.progress,
        )
        for name, adapter in adapters
    ]
