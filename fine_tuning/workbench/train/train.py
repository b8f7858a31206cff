"""The facade of training: start a run, go on with one, forecast and check before it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from fine_tuning.config.loader import with_values
from fine_tuning.config.schema import Settings
from fine_tuning.core.errors import (
    ConfigError,
    DataError,
    RuntimeFailedError,
    RuntimeUnavailableError,
    TrainingError,
)
from fine_tuning.core.extras import require
from fine_tuning.core.loops import SettingValues, TrainedVersion
from fine_tuning.core.ports import RunListener
from fine_tuning.core.run import MANIFEST_FILE, Run
from fine_tuning.data_preparation.snapshot import Snapshot
from fine_tuning.engine.trainable import check_trainable
from fine_tuning.runtimes.base_model import EMBEDDED, BaseModel
from fine_tuning.runtimes.context_room import room_of_base
from fine_tuning.runtimes.ollama_client import OllamaClient
from fine_tuning.runtimes.ollama_probe import probe
from fine_tuning.training.events_file import Listeners
from fine_tuning.training.plan import TrainingData, TrainingPlan
from fine_tuning.workbench.base_models import PROMPTS_KEY
from fine_tuning.workbench.catalog import Catalog
from fine_tuning.workbench.context import Context
from fine_tuning.workbench.data.data import Data
from fine_tuning.workbench.plans import UNKNOWN_RUNTIME, training_plan
from fine_tuning.workbench.process import gc_paused
from fine_tuning.workbench.runs import finished_runs
from fine_tuning.workbench.train.preflight import Preflight

if TYPE_CHECKING:
    from fine_tuning.training.adapter_run import BaseTrainer, TrainingBase
    from fine_tuning.training.forecast import Forecast
    from fine_tuning.training.run_lifecycle import Listening
    from fine_tuning.training.starting_point import StartingPoint


class Train:
    """What a user does with runs.

    Args:
        context: Settings, workspace and clock.
        catalog: Base models, data sets, runs and versions.
        data: Prepares data sets.
        on_finished: Called with each run once it is a version.

    Attributes:
        preflight: What would spoil a training, before it begins.
    """

    def __init__(
        self,
        context: Context,
        catalog: Catalog,
        data: Data,
        on_finished: Callable[[Run], None],
    ) -> None:
        self._context = context
        self._data = data
        self._catalog = catalog
        self._on_finished = on_finished
        self.preflight = Preflight(context, data, catalog.bases, self.counted_forecast)

    def train(
        self,
        snapshot: Snapshot | None = None,
        *,
        run_id: str = "",
        listener: RunListener | None = None,
        start_from: str = "",
        settings: Settings | None = None,
    ) -> Run:
        """Train an adapter; the finished run becomes a version in the registry.

        Args:
            snapshot: What to learn; None prepares the recorded conversations first.
            run_id: The run's name; "" makes one from the time.
            listener: Hears the run's events.
            start_from: A version (or run) whose adapter is trained on; "" begins with a fresh one.
            settings: The settings of this run; None takes those in force.

        Returns:
            The finished run.

        Raises:
            MissingDependencyError: if a library of the extra ``train`` is not installed.
            ModelNotFoundError: if there is no such version, or its files were pruned.
            FineTuningError: as preparing and the trainer raise.
        """
        require("train")
        start = self._starting_point(start_from) if start_from else None
        trainer, data, base = self._training_task(snapshot, settings=settings)
        folder, listening = self._new_folder(run_id), _listening(listener)
        run = trainer.train(data, base, folder, listening, start_from=start)
        self._register(run)
        return run

    def train_adapter(
        self, data: str, *, start_from: str = "", settings: SettingValues | None = None
    ) -> TrainedVersion:
        """Train on a data set, by its name; see :class:`core.loops.AdapterTrainer`.

        Args:
            data: The data set's name.
            start_from: A version (or run) whose adapter is trained on; "" begins with a fresh one.
            settings: Values that replace those in force, by their names.

        Returns:
            The version, its run and its validation loss in nats.
        """
        snapshot = self._catalog.datasets.find(data)
        wanted = with_values(self._context.settings, settings or {})
        run = self.train(snapshot, start_from=start_from, settings=wanted)
        return TrainedVersion(
            version=self._catalog.register.register(run).name,
            run_id=run.run_id,
            validation_loss=run.metrics.best_validation_loss,
        )

    def _starting_point(self, name: str) -> StartingPoint:
        from fine_tuning.training.starting_point import StartingPoint  # noqa: PLC0415 - torch is slow to load

        run = self._catalog.runs.find(name)
        return StartingPoint(
            name=self._catalog.register.register(run).name,
            adapter_file=run.adapter_file,
            base_fingerprint=self._catalog.bases.fingerprint_of(run),
        )

    def forecast(self, snapshot: Snapshot | None = None, *, start_from: str = "") -> Forecast:
        """Tell what :meth:`train` would take, from a few timed batches; no run is begun.

        Args:
            snapshot: What to train on; None prepares the recorded conversations first.
            start_from: A version (or run) whose adapter would be trained on; "" for a fresh one.

        Returns:
            Time, memory and disk space.

        Raises:
            MissingDependencyError: if a library of the extra ``train`` is not installed.
            OutOfMemoryError: if it cannot fit into memory; says what would.
            StorageError: if it cannot fit onto the disk.
            FineTuningError: as preparing and opening the model raise.
        """
        require("train")
        start = self._starting_point(start_from) if start_from else None
        trainer, data, base = self._training_task(snapshot)
        return trainer.forecast(data, base, self._new_folder(""), start_from=start)

    def mode_remark(self, run: Run) -> str:
        """Tell what fast mode gained and lost; "" for a run that adapts every layer.

        Returns:
            The remark, a text for users.
        """
        from fine_tuning.training.fast_mode import mode_remark  # noqa: PLC0415 - torch is slow to load

        return mode_remark(run, finished_runs(self._context.workspace))

    def counted_forecast(self, snapshot: Snapshot, base: BaseModel) -> Forecast:
        """Tell what memory and disk training on a data set would take; nothing is computed.

        Args:
            snapshot: What would be trained on.
            base: The base model, one the data set was made for.

        Returns:
            Memory and disk space, without a measured time.

        Raises:
            OutOfMemoryError: if it cannot fit into memory; says what would.
            StorageError: if it cannot fit onto the disk.
            FineTuningError: as opening the model raises.
        """
        trainer, data, found = self._training_task(snapshot, base)
        return trainer.forecast(data, found, self._new_folder(""), is_timed=False)

    def _training_task(
        self,
        snapshot: Snapshot | None,
        base: BaseModel | None = None,
        settings: Settings | None = None,
    ) -> tuple[BaseTrainer, TrainingData, TrainingBase]:
        from fine_tuning.training.adapter_run import TrainingBase  # noqa: PLC0415 - torch is slow to load

        base = base or self._catalog.bases.find()
        check_trainable(base.path)  # better now than after the data set is built
        snapshot = snapshot or self._data.prepare(base)
        made_for = dict(snapshot.manifest.get("base_model") or {})
        if made_for.get("digest") not in (None, base.digest()):
            raise DataError(
                f"data set {snapshot.name} was tokenized for {made_for.get('name')}, "
                f"expected one made for {base.name}",
                next_command="fine-tuning prepare",
            )
        data = TrainingData(
            train=snapshot.split("train").examples,
            validation=snapshot.split("validation").examples,
            snapshot=snapshot.name,
        )
        section = (settings or self._context.settings).training
        plan = training_plan(section, *self._takes_adapters(base))
        trainer = _trainer(section.method, plan)
        room = room_of_base(base, self._context.settings.serving.context_tokens)
        prompts = json.loads(made_for.get(PROMPTS_KEY) or "{}")
        task_base = TrainingBase(
            path=base.path,
            name=base.name,
            digest=base.digest(),
            context_tokens=room,
            prompts=prompts,
        )
        return trainer, data, task_base

    def _new_folder(self, run_id: str) -> Path:
        if run_id:
            return self._run_folder(run_id)
        stem = self._context.clock.now().strftime("%Y%m%d-%H%M%S")
        # A second run begun within the second is another run.
        names = (f"{stem}-{number}" if number > 1 else stem for number in count(1))
        return next(folder for folder in map(self._run_folder, names) if not folder.exists())

    def resume(self, run_id: str, listener: RunListener | None = None) -> Run:
        """Go on with an interrupted run; its own settings hold.

        Args:
            run_id: The run's name.
            listener: Hears the run's events.

        Returns:
            The finished run.

        Raises:
            MissingDependencyError: if a library of the extra ``train`` is not installed.
            TrainingError: if there is no such run, or it cannot go on.
        """
        require("train")
        from fine_tuning.training.run_folder import RunFolder  # noqa: PLC0415 - torch is slow to load

        folder = self._context.workspace.runs / run_id
        if not folder.is_dir():
            raise TrainingError(
                f"no run {run_id!r} in {self._context.workspace.runs}, "
                "expected one that was started there"
            )
        method = RunFolder(folder).settings().method
        run = _trainer(method).resume(folder, _listening(listener))
        self._register(run)
        return run

    def _register(self, run: Run) -> None:
        self._catalog.register.register(run)
        self._on_finished(run)

    def is_finished(self, run_id: str) -> bool:
        """Tell whether a run has its manifest."""
        return (self._context.workspace.runs / run_id / MANIFEST_FILE).exists()

    def _takes_adapters(self, base: BaseModel) -> tuple[bool | None, str]:
        """Tell whether the runtime of a base model serves adapters, and why that is believed."""
        if base.source == EMBEDDED:
            return True, "the embedded llama.cpp takes them"
        if self._context.settings.training.adapter != "auto":
            return None, UNKNOWN_RUNTIME
        try:
            with closing(OllamaClient(self._context.settings.deployment.ollama_base_url)) as client:
                facts = probe(client)
        except (RuntimeUnavailableError, RuntimeFailedError) as error:
            return None, error.message
        return facts.takes_adapters, facts.adapters_reason

    def _run_folder(self, name: str) -> Path:
        if Path(name).name != name or name.startswith("."):
            raise ConfigError(f"run id {name!r} is not a valid folder name")
        return self._context.workspace.runs / name


def _trainer(method: str, plan: TrainingPlan | None = None) -> BaseTrainer:
    with gc_paused("torch"):
        from fine_tuning.training.lora_trainer import LoRATrainer  # noqa: PLC0415 - it is slow
        from fine_tuning.training.qlora_trainer import QLoRATrainer  # noqa: PLC0415 - as above

    return {"lora": LoRATrainer, "qlora": QLoRATrainer}[method](plan)


def _listening(listener: RunListener | None) -> Listening:
    from fine_tuning.training.run_lifecycle import Listening  # noqa: PLC0415 - torch is slow to load

    return Listening(listener=listener) if listener else Listening(listener=Listeners(()))
