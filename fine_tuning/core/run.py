"""A training run as its folder tells it: what it is called, what it holds, what it measured.

A value, free of torch: training makes it, the registry, the runtimes and the pages read it. The
names of the files in a run's folder stand here and nowhere else; ``storage.run_files`` reads and
writes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, TypedDict

from fine_tuning.core.json_shape import build
from fine_tuning.core.json_value import JsonObject

MANIFEST_FILE = "manifest.json"
"""Written last: a folder that holds it is a finished run."""
SETTINGS_FILE = "settings.json"
"""Written first: all that is needed to resume."""
EVENTS_FILE = "events.jsonl"
EVALUATION_FILE = "evaluation.json"
LOCK_FILE = ".lock"
ADAPTER_DIR = "adapter"
ADAPTER_GGUF = "adapter.gguf"
PEFT_WEIGHTS = "adapter_model.safetensors"
PEFT_CONFIG = "adapter_config.json"

SERVED_CONTEXT_TOKENS = 4096
"""The context room of runs that record none: Ollama's, unless it is told otherwise."""

RunState = Literal["running", "interrupted", "finished"]


class AdapterFiles(TypedDict, total=False):
    """The adapter of a run: the content name of its numbers, and the digests of its files."""

    name: str
    files: Mapping[str, str]


ImportedFrom = TypedDict("ImportedFrom", {"from": str, "form": str, "base_named": str})
"""Where an adapter that was trained elsewhere came from, and the base its files name."""


class RunManifest(TypedDict, total=False):
    """``manifest.json``; ``settings.json`` holds the same but for metrics and adapter.

    ``plan`` holds the fields of a ``TrainingPlan``, ``metrics`` those of :class:`TrainingMetrics`;
    ``parents`` name the versions whose adapters the run started from; ``prompts`` is what wrote
    them where that is not the base file's own template (``runtimes.base_prompts.BasePrompts``).
    """

    format: int
    run_id: str
    method: str
    plan: JsonObject
    base_path: str
    base_digest: str
    base_fingerprint: str
    base_name: str
    snapshot: str
    threads: int
    compute_dtype: str
    compute_dtype_reason: str
    kernels: str
    created_at: str
    versions: Mapping[str, str]
    data_digests: Mapping[str, str]
    seed: int
    metrics: JsonObject
    adapter: AdapterFiles
    family: str
    parents: Sequence[str]
    imported: ImportedFrom
    context_tokens: int
    prompts: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingMetrics:
    """What a run measured; losses are mean natural-log losses per target token.

    The defaults are those of an adapter that was trained elsewhere: nothing was measured here.
    """

    first_loss: float | None = None
    last_loss: float | None = None
    base_validation_loss: float | None = None
    last_validation_loss: float | None = None
    best_validation_loss: float | None = None
    best_step: int = 0
    num_steps: int = 0
    num_tokens: int = 0
    num_targets: int = 0
    stopped_early: bool = False
    training_time_s: float = 0.0
    peak_memory_bytes: int = 0


@dataclass(frozen=True)
class RunRecord:
    """What the files of a run's folder say, finished or not."""

    folder: Path
    manifest: RunManifest

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def method(self) -> str:
        """How it was trained: ``lora``, ``qlora``, or ``imported``."""
        return self.manifest.get("method", "")

    @property
    def base_name(self) -> str:
        """The name by which the base model was asked for."""
        return self.manifest.get("base_name", "")

    @property
    def base_digest(self) -> str:
        """``sha256:<64 hex>`` of the base model's file."""
        return self.manifest.get("base_digest", "")

    @property
    def base_fingerprint(self) -> str:
        """The fingerprint of the base model's tensors; "" in runs of earlier versions."""
        return self.manifest.get("base_fingerprint", "")

    @property
    def snapshot(self) -> str:
        """The content name of the data set it was trained on; "" for an imported adapter."""
        return self.manifest.get("snapshot", "")

    @property
    def created_at(self) -> str:
        """When it was begun."""
        return self.manifest.get("created_at", "")

    @property
    def parents(self) -> Sequence[str]:
        """The versions whose adapters it started from."""
        return self.manifest.get("parents", ())

    @property
    def context_tokens(self) -> int:
        """The context room it was trained for: tokens of prompt and reply of a conversation."""
        return self.manifest.get("context_tokens", SERVED_CONTEXT_TOKENS)

    @property
    def plan(self) -> JsonObject:
        """The numbers of the run as JSON."""
        return self.manifest.get("plan", {})

    @cached_property
    def metrics(self) -> TrainingMetrics:
        """What it measured; the defaults until it is finished."""
        return build(self.manifest.get("metrics", {}), TrainingMetrics)

    @property
    def adapter_dir(self) -> Path:
        """The folder of the adapter in all its forms."""
        return self.folder / ADAPTER_DIR

    @property
    def adapter_file(self) -> Path:
        """The adapter as llama.cpp reads it."""
        return self.adapter_dir / ADAPTER_GGUF

    @property
    def events_path(self) -> Path:
        """The events of the run, a line of JSON each."""
        return self.folder / EVENTS_FILE

    @property
    def evaluation_path(self) -> Path:
        """The report of its last evaluation, once there is one."""
        return self.folder / EVALUATION_FILE


@dataclass(frozen=True)
class Run(RunRecord):
    """A finished run."""

    @property
    def adapter_name(self) -> str:
        """The content name of the adapter's numbers, wherever they were trained."""
        return self.manifest.get("adapter", {}).get("name", "")


@dataclass(frozen=True)
class RunOverview(RunRecord):
    """A run in any state.

    Attributes:
        state: Whether a process works on it, or its manifest is written.
        pid: The process at work, 0 if none is.
        is_demo: Whether it is a run of the demo.
    """

    state: RunState = "interrupted"
    pid: int = 0
    is_demo: bool = False
    is_evaluated: bool = False
