"""Training: starting a run and going on with one."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from fine_tuning.core.clock import SystemClock
from fine_tuning.core.errors import (
    ConfigError,
    DataError,
    RuntimeFailedError,
    RuntimeUnavailableError,
    TrainingError,
)
from fine_tuning.core.ports import RunListener
from fine_tuning.core.run import MANIFEST_FILE, Run
from fine_tuning.data_preparation.snapshot import Snapshot
from fine_tuning.runtimes.base_model import EMBEDDED, BaseModel
from fine_tuning.runtimes.ollama_client import OllamaClient
from fine_tuning.runtimes.ollama_probe import probe
from fine_tuning.workbench.collection import Collection
from fine_tuning.workbench.modelfiles import Modelfiles
from fine_tuning.workbench.plans import UNKNOWN_RUNTIME, training_plan
from fine_tuning.workbench.process import loading
from fine_tuning.workbench.runs import finished_runs

if TYPE_CHECKING:
    from fine_tuning.core.run import Run
    from fine_tuning.training.adapter_run import AdapterTrainer
    from fine_tuning.training.adapter_run import BaseModel as TrainingBase
    from fine_tuning.training.forecast import Forecast
    from fine_tuning.training.plan import TrainingData, TrainingPlan
    from fine_tuning.training.run import Listening


class Training(Collection, Modelfiles):
    """What a user does with runs."""

    def train(
        self,
        snapshot: Snapshot | None = None,
        *,
        run_id: str = "",
        listener: RunListener | None = None,
    ) -> Run:
        """Train an adapter; the finished run becomes a version in the registry.

        Args:
            snapshot: What to learn; None prepares the recorded conversations first.
            run_id: The run's name; "" makes one from the time.
            listener: Hears the run's events.

        Raises:
            FineTuningError: as preparing and the trainer raise.
        """
        trainer, data, base = self._training_task(snapshot)
        run = trainer.train(data, base, self._new_folder(run_id), _listening(listener))
        self._register(run)
        return run

    def forecast(self, snapshot: Snapshot | None = None) -> Forecast:
        """Tell what :meth:`train` would take, from a few timed batches; no run is begun.

        Raises:
            OutOfMemoryError: if it cannot fit into memory; says what would.
            StorageError: if it cannot fit onto the disk.
            FineTuningError: as preparing and opening the model raise.
        """
        trainer, data, base = self._training_task(snapshot)
        return trainer.forecast(data, base, self._new_folder(""))

    def mode_remark(self, run: Run) -> str:
        """Tell what fast mode gained and lost; "" for a run that adapts every layer."""
        from fine_tuning.training.fast_mode import mode_remark  # noqa: PLC0415 - torch is slow to load

        return mode_remark(run, finished_runs(self.workspace))

    def counted_forecast(self, snapshot: Snapshot, base: BaseModel) -> Forecast:
        """Tell what memory and disk training on a data set would take; nothing is computed.

        Raises:
            OutOfMemoryError: if it cannot fit into memory; says what would.
            StorageError: if it cannot fit onto the disk.
            FineTuningError: as opening the model raises.
        """
        trainer, data, found = self._training_task(snapshot, base)
        return trainer.forecast(data, found, self._new_folder(""), is_timed=False)

    def _training_task(
        self, snapshot: Snapshot | None, base: BaseModel | None = None
    ) -> tuple[AdapterTrainer, TrainingData, TrainingBase]:
        from fine_tuning.training.adapter_run import BaseModel as TrainingBase  # noqa: PLC0415 - torch is slow to load
        from fine_tuning.training.plan import TrainingData  # noqa: PLC0415 - as above

        base = base or self.base_model()
        snapshot = snapshot or self.prepare(base)
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
        plan = training_plan(self.settings.training, *self._takes_adapters(base))
        trainer = _trainer(self.settings.training.method, plan)
        return trainer, data, TrainingBase(path=base.path, name=base.name, digest=base.digest())

    def _new_folder(self, run_id: str) -> Path:
        return self._run_folder(run_id or SystemClock().now().strftime("%Y%m%d-%H%M%S"))

    def resume(self, run_id: str, listener: RunListener | None = None) -> Run:
        """Go on with an interrupted run; its own settings hold.

        Raises:
            TrainingError: if there is no such run, or it cannot go on.
        """
        from fine_tuning.training.run_folder import RunFolder  # noqa: PLC0415 - torch is slow to load

        folder = self.workspace.runs / run_id
        if not folder.is_dir():
            raise TrainingError(
                f"no run {run_id!r} in {self.workspace.runs}, expected one that was started there"
            )
        method = RunFolder(folder).settings().method
        run = _trainer(method).resume(folder, _listening(listener))
        self._register(run)
        return run

    def _register(self, run: Run) -> None:
        self.register_run(run)
        self.keep_modelfile(run)

    def is_finished(self, run_id: str) -> bool:
        """Tell whether a run has its manifest."""
        return (self.workspace.runs / run_id / MANIFEST_FILE).exists()

    def _takes_adapters(self, base: BaseModel) -> tuple[bool | None, str]:
        """Tell whether the runtime of a base model serves adapters, and why that is believed."""
        if base.source == EMBEDDED:
            return True, "the embedded llama.cpp takes them"
        if self.settings.training.adapter != "auto":
            return None, UNKNOWN_RUNTIME
        try:
            with closing(OllamaClient(self.settings.deployment.ollama_base_url)) as client:
                facts = probe(client)
        except (RuntimeUnavailableError, RuntimeFailedError) as error:
            return None, error.message
        return facts.takes_adapters, facts.adapters_reason

    def _run_folder(self, name: str) -> Path:
        if Path(name).name != name or name.startswith("."):
            raise ConfigError(f"run id {name!r} is no plain folder name")
        return self.workspace.runs / name


def _trainer(method: str, plan: TrainingPlan | None = None) -> AdapterTrainer:
    with loading("torch"):
        from fine_tuning.training.lora_trainer import LoRATrainer  # noqa: PLC0415 - it is slow
        from fine_tuning.training.qlora_trainer import QLoRATrainer  # noqa: PLC0415 - as above

    return {"lora": LoRATrainer, "qlora": QLoRATrainer}[method](plan)


def _listening(listener: RunListener | None) -> Listening:
    from fine_tuning.training.events_file import Listeners  # noqa: PLC0415 - torch is slow to load
    from fine_tuning.training.run import Listening  # noqa: PLC0415 - as above

    return Listening(listener=listener) if listener else Listening(listener=Listeners(()))
