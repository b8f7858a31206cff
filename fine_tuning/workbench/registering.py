"""The registry of a workspace: every finished run becomes a version, found by its name."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fine_tuning.core.errors import DataError, ModelNotFoundError
from fine_tuning.core.json_value import JsonValue, trusted
from fine_tuning.core.run import ADAPTER_GGUF, PEFT_CONFIG, PEFT_WEIGHTS, Run
from fine_tuning.data_preparation.snapshot import NO_DATA, Snapshot, folder_name, load_snapshot
from fine_tuning.model_management.model_registry import ModelRegistry
from fine_tuning.model_management.registry_file import DATABASE_FILE
from fine_tuning.model_management.versions import ModelVersion, NewVersion, family_of
from fine_tuning.storage.run_files import read_run
from fine_tuning.workbench.base import WorkbenchBase
from fine_tuning.workbench.runs import read_runs

logger = logging.getLogger(__name__)
PLAN_KEYS = ("method", "compute_dtype", "kernels", "threads", "seed")
FILE_KINDS = {
    ADAPTER_GGUF: "adapter",
    PEFT_WEIGHTS: "peft",
    PEFT_CONFIG: "peft config",
}


class Registering(WorkbenchBase):
    """What the workbench knows about versions."""

    @property
    def has_registry(self) -> bool:
        """Whether a version was ever registered in this workspace."""
        return (self.workspace.models / DATABASE_FILE).exists()

    def registry(self) -> ModelRegistry:
        """Open the registry, in which every finished run of the workspace is a version.

        Runs that finished when no one could register them, because the process was killed, are
        registered now.

        Raises:
            ModelNotFoundError: if no run was ever finished in this workspace.
            StorageError: if the registry cannot be opened.
        """
        runs = read_runs(self.workspace)
        if not runs and not self.has_registry:
            raise ModelNotFoundError(
                f"no model was trained in {self.workspace.home} yet",
                next_command="fine-tuning train, or fine-tuning demo",
            )
        registry = ModelRegistry(self.workspace.models)
        known = _by_run(registry)
        for run in runs:
            if _key(run) not in known:
                registry.register(self._new_version(run))
        return registry

    def register_run(self, run: Run, *, parents: Sequence[str] = ()) -> ModelVersion:
        """Register a finished run; one that is registered is returned as it is.

        Args:
            run: The run.
            parents: The versions its adapter started from.

        Raises:
            DataError: if a file of the run is missing.
            ModelNotFoundError: if a parent is unknown.
            StorageError: if the registry cannot be written.
        """
        registry = ModelRegistry(self.workspace.models)
        return _by_run(registry).get(_key(run)) or registry.register(
            self._new_version(run, parents)
        )

    def record_verdict(
        self, run: Run, verdict: Mapping[str, Any], metrics: Mapping[str, Any]
    ) -> None:
        """Store what was found about a run with its version; a run of elsewhere has none."""
        if not self.has_registry:
            return
        registry = ModelRegistry(self.workspace.models)
        version = _by_run(registry).get(_key(run))
        if version is not None:
            registry.record_verdict(version.name, verdict, metrics)

    def find_run(self, name: str | Run) -> Run:
        """Find a finished run by id, folder, ``latest``, ``demo``, or a version's name.

        A run is returned as it is, so that one at hand is not looked for again.

        Raises:
            ModelNotFoundError: if there is none, or the start of an id fits several.
        """
        if isinstance(name, Run):
            return name
        try:
            return super().find_run(name)
        except ModelNotFoundError as no_run:
            if not self.has_registry and not read_runs(self.workspace):
                raise
            try:
                # Not the registry alone: a run that finished unseen is a version too.
                version = self.registry().find(name)
            except ModelNotFoundError as no_version:
                raise ModelNotFoundError(
                    f"{no_run.message}; {no_version.message}", next_command=no_run.next_command
                ) from no_version
        if version.adapter_path is None:
            raise ModelNotFoundError(
                f"the files of {version.name} were pruned, expected a version that has them",
                next_command="fine-tuning models",
            )
        run = read_run(version.run_folder)
        if run is None:
            raise ModelNotFoundError(
                f"{version.run_folder} of {version.name} holds no finished run",
                next_command="fine-tuning models verify " + version.name,
            )
        return run

    def data_of(self, run: Run) -> Snapshot:
        """Open the data set of a run, beside which the run's folder lies.

        It is ``NO_DATA`` for an adapter that was trained elsewhere.

        Raises:
            DataError: if it is missing or damaged.
        """
        if not run.snapshot:
            return NO_DATA
        own = run.folder.parents[1] / "datasets" / folder_name(run.snapshot)
        return load_snapshot(own) if own.is_dir() else self.snapshot(run.snapshot)

    def _new_version(self, run: Run, parents: Sequence[str] = ()) -> NewVersion:
        manifest = run.manifest
        facts = trusted(manifest)
        settings: dict[str, JsonValue] = {key: facts[key] for key in PLAN_KEYS if key in facts}
        settings |= {"plan": manifest.get("plan", {}), "versions": manifest.get("versions", {})}
        conversations: Mapping[str, Sequence[str]] = {}
        try:
            data = self.data_of(run)
        except DataError as error:
            logger.warning("the conversations of run %s are not known: %s", run.run_id, error)
        else:
            conversations = data.conversation_ids
            settings["data"] = data.manifest.get("settings", {})
        if "imported" in manifest:
            settings["imported"] = trusted(manifest["imported"])
        family = manifest.get("family", "") or self.settings.deployment.family
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


def _key(run: Run) -> tuple[str, str]:
    return run.run_id, run.adapter_name


def _by_run(registry: ModelRegistry) -> dict[tuple[str, str], ModelVersion]:
    return {(one.run_id, one.adapter_name): one for one in registry.versions()}
