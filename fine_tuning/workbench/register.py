"""The registry of a workspace: every finished run becomes a version, found by its name."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fine_tuning.config.workspace import Workspace
from fine_tuning.core.errors import DataError, ModelNotFoundError
from fine_tuning.core.json_value import JsonValue, trusted
from fine_tuning.core.run import ADAPTER_GGUF, PEFT_CONFIG, PEFT_WEIGHTS, Run
from fine_tuning.model_management.model_registry import ModelRegistry
from fine_tuning.model_management.registry_file import DATABASE_FILE
from fine_tuning.model_management.versions import ModelVersion, NewVersion, family_of
from fine_tuning.workbench.datasets import Datasets
from fine_tuning.workbench.runs import read_runs

logger = logging.getLogger(__name__)
PLAN_KEYS = ("method", "compute_dtype", "kernels", "threads", "seed")
FILE_KINDS = {
    ADAPTER_GGUF: "adapter",
    PEFT_WEIGHTS: "peft",
    PEFT_CONFIG: "peft config",
}


class VersionRegister:
    """The versions of a workspace; its finished runs are registered on the way.

    Args:
        workspace: Whose runs.
        datasets: Its data sets, which say what a version was trained on.
        family: The family of new versions; None takes the name of their base.
    """

    def __init__(self, workspace: Workspace, datasets: Datasets, family: str | None = None) -> None:
        self._workspace = workspace
        self._datasets = datasets
        self._family = family

    @property
    def exists(self) -> bool:
        """Whether a version was ever registered in this workspace."""
        return (self._workspace.models / DATABASE_FILE).exists()

    def registry(self) -> ModelRegistry:
        """Open the registry, in which every finished run of the workspace is a version.

        Runs that finished when no one could register them, because the process was killed, are
        registered now.

        Raises:
            ModelNotFoundError: if no run was ever finished in this workspace.
            StorageError: if the registry cannot be opened.
        """
        runs = read_runs(self._workspace)
        if not runs and not self.exists:
            raise ModelNotFoundError(
                f"no model was trained in {self._workspace.home} yet",
                next_command="fine-tuning train, or fine-tuning demo",
            )
        registry = ModelRegistry(self._workspace.models)
        known = _by_run(registry)
        for run in runs:
            if _key(run) not in known:
                registry.register(self._new_version(run, _parents(registry, run)))
        return registry

    def register(self, run: Run, *, parents: Sequence[str] = ()) -> ModelVersion:
        """Register a finished run; one that is registered is returned as it is.

        Args:
            run: The run.
            parents: The versions its adapter started from; none given are those its manifest names.

        Raises:
            DataError: if a file of the run is missing.
            ModelNotFoundError: if a parent is unknown.
            StorageError: if the registry cannot be written.
        """
        registry = ModelRegistry(self._workspace.models)
        return _by_run(registry).get(_key(run)) or registry.register(
            self._new_version(run, parents or _parents(registry, run))
        )

    def record_verdict(
        self, run: Run, verdict: Mapping[str, Any], metrics: Mapping[str, Any]
    ) -> None:
        """Store what was found about a run with its version; a run of elsewhere has none."""
        if not self.exists:
            return
        registry = ModelRegistry(self._workspace.models)
        version = _by_run(registry).get(_key(run))
        if version is not None:
            registry.record_verdict(version.name, verdict, metrics)

    def versions(self, family: str | None = None) -> list[ModelVersion]:
        """Return all versions, or those of a family, oldest first; none before the first run."""
        try:
            return self.registry().versions(family)
        except ModelNotFoundError:
            return []

    def _new_version(self, run: Run, parents: Sequence[str] = ()) -> NewVersion:
        manifest = run.manifest
        facts = trusted(manifest)
        settings: dict[str, JsonValue] = {key: facts[key] for key in PLAN_KEYS if key in facts}
        settings |= {"plan": manifest.get("plan", {}), "versions": manifest.get("versions", {})}
        conversations: Mapping[str, Sequence[str]] = {}
        try:
            data = self._datasets.of_run(run)
        except DataError as error:
            logger.warning("the conversations of run %s are not known: %s", run.run_id, error)
        else:
            conversations = data.conversation_ids
            settings["data"] = trusted(data.manifest.get("settings", {}))
        if "imported" in manifest:
            settings["imported"] = trusted(manifest["imported"])
        family = manifest.get("family", "") or self._family
        folder = run.adapter_dir
        return NewVersion(
            family=family or family_of(run.base_name),
            run_id=run.run_id,
            run_folder=run.folder,
            method=run.method,
            adapter_name=run.adapter_name,
            base_name=run.base_name,
            base_digest=run.base_digest,
            snapshot=run.snapshot,
            artefacts=[
                (kind, folder / name)
                for name, kind in FILE_KINDS.items()
                if (folder / name).is_file()
            ],
            conversations=conversations,
            settings=settings,
            metrics=manifest.get("metrics", {}),
            verdict=_verdict(run),
            parents=parents or run.parents,
            trained_at=run.created_at,
        )


def _verdict(run: Run) -> Mapping[str, Any]:
    """Return the verdict of a run that was compared before it became a version; else nothing."""
    try:
        report = json.loads(run.evaluation_path.read_bytes())
    except (OSError, ValueError):
        return {}
    found = report.get("verdict") if isinstance(report, dict) else None
    return found if isinstance(found, dict) else {}


def _parents(registry: ModelRegistry, run: Run) -> list[str]:
    """Return the versions a run says its adapter started from, of those the registry knows."""
    known = {version.name for version in registry.versions()}
    return [name for name in run.parents if name in known]


def _key(run: Run) -> tuple[str, str]:
    return run.run_id, run.adapter_name


def _by_run(registry: ModelRegistry) -> dict[tuple[str, str], ModelVersion]:
    return {(one.run_id, one.adapter_name): one for one in registry.versions()}
