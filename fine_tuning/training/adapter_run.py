"""A run on real weights: joins the engine's decoder and adapter to the loop and the run folder.

The two trainers differ in whether the frozen weights are unpacked where memory allows; nothing
else here depends on which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch

from fine_tuning.core.clock import iso
from fine_tuning.core.errors import ConfigError, TrainingError
from fine_tuning.core.events import RunEvent, Value
from fine_tuning.core.json_value import JsonObject
from fine_tuning.core.naming import file_sha256
from fine_tuning.core.run import ADAPTER_GGUF, SERVED_CONTEXT_TOKENS, Run
from fine_tuning.engine.adapter_files import write_gguf_adapter
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.lora import LoraAdapter
from fine_tuning.engine.peft_files import write_peft_adapter
from fine_tuning.gguf.adapter import BASE_DIGEST_KEY, BASE_NAME_KEY
from fine_tuning.gguf.fingerprint import tensor_fingerprint
from fine_tuning.training.adapter_training import AdapterTraining
from fine_tuning.training.fast_mode import first_adapted, frozen_prefix_cache
from fine_tuning.training.forecast import Forecast, ForecastInput, apply, forecast, timed
from fine_tuning.training.fresh_adapter import fresh_adapter
from fine_tuning.training.lr_finder import find_rate
from fine_tuning.training.objective import Objective
from fine_tuning.training.open_base import open_decoder, opened
from fine_tuning.training.plan import TrainingData, TrainingPlan
from fine_tuning.training.run_folder import (
    RunFolder,
    RunSettings,
    current_versions,
    resume_command,
)
from fine_tuning.training.run_lifecycle import Export, Listening, carry_out, memory_errors
from fine_tuning.training.starting_point import StartingPoint


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingBase:
    """The GGUF file a run starts from, and the name the user knows it by.

    ``digest`` is ``sha256:<64 hex>`` of the file when the caller knows it; "" lets it be computed.
    ``context_tokens`` is the context room the model will be served with.
    ``prompts`` say what wrote the prompts (``core.run.RunManifest``).
    """

    path: Path
    name: str = ""
    digest: str = ""
    context_tokens: int = SERVED_CONTEXT_TOKENS
    prompts: JsonObject = field(default_factory=dict)


class BaseTrainer:
    """Trains an adapter by the plan; a method is a subclass that names itself.

    Args:
        plan: The numbers; the defaults suit small chat data.
        objective: What is minimised; None is supervised training.
    """

    method: str

    def __init__(
        self, plan: TrainingPlan | None = None, *, objective: Objective | None = None
    ) -> None:
        self.plan = plan or TrainingPlan()
        self.objective = objective

    def train(
        self,
        data: TrainingData,
        base: TrainingBase,
        run_folder: Path,
        listening: Listening | None = None,
        *,
        start_from: StartingPoint | None = None,
        decoder: Decoder | None = None,
    ) -> Run:
        """Train in a new folder.

        Args:
            data: What is learnt, and what tells when to stop.
            base: The frozen model.
            run_folder: Where; it is made.
            listening: Who hears it.
            start_from: A version whose adapter is trained on; None begins with a fresh one. The
                adapter keeps its form: ranks, scale and targets of the plan give way to it.
            decoder: The base as :meth:`open` opened it; it stays open. None opens it for this run.

        Raises:
            DataError: if no training sequence has a target.
            ConfigError: if the plan adapts layers the model does not have, the version is of
                another base or does not fit the plan, or the decoder is of another base or
                arithmetic than the plan's.
            TrainingError: if the folder holds a run already, or another process works in it.
            FineTuningError: as :func:`run.carry_out` and the engine's decoder raise.
        """
        folder, listening = RunFolder(run_folder), listening or Listening()
        settings = self._new_settings(data, base, folder, listening, start_from)
        with opened(settings, decoder) as base_decoder:
            fresh = partial(_initial_adapter, base_decoder, settings.plan, start_from)
            adapter = fresh()
            known = forecast(_job(settings, base_decoder, adapter, data), folder.path)
            with folder.locked():
                if settings.plan.finds_rate:
                    apply(known.memory, base_decoder)
                    settings = self._with_found_rate(settings, base_decoder, fresh, data, listening)
                settings = folder.begin(_with_arithmetic(settings, base_decoder), data, start_from)
                training, export = self._prepared(folder, settings, base_decoder, adapter, known)
                remarks = _remarks(settings, known)
                return carry_out(folder, settings, training, export, listening, remarks)

    def resume(self, run_folder: Path, listening: Listening | None = None) -> Run:
        """Go on with a run where it was interrupted; a finished one is returned as it is.

        The run's own plan holds; the objective is this trainer's, and MUST be the run's.

        Raises:
            TrainingError: if the folder holds no run or one of another method, another process
                works on it, its data was changed, or its base model is not the file it was started
                with.
            FineTuningError: as :func:`run.carry_out` and the engine's decoder raise.
        """
        folder, listening = RunFolder(run_folder), listening or Listening()
        settings = folder.settings()
        if settings.method != self.method:
            raise TrainingError(
                f"run {folder.path.name} was started with method {settings.method}, "
                f"expected {self.method}",
                next_command=resume_command(folder.path),
            )
        with folder.locked():
            if folder.manifest_path.exists():
                return folder.finished_run()
            torch.set_num_threads(settings.threads)
            _refuse_other_base(settings)
            with opened(settings) as decoder:
                start_from = folder.starting_point(settings)
                adapter = _initial_adapter(decoder, settings.plan, start_from)
                job = _job(settings, decoder, adapter, folder.data(settings))
                known = forecast(job, folder.path)
                training, export = self._prepared(folder, settings, decoder, adapter, known)
                remarks = _remarks(settings, known)
                return carry_out(folder, settings, training, export, listening, remarks)

    def forecast(
        self,
        data: TrainingData,
        base: TrainingBase,
        run_folder: Path,
        *,
        is_timed: bool = True,
        start_from: StartingPoint | None = None,
    ) -> Forecast:
        """Tell what a run would take, from a few timed batches; nothing is written.

        Without ``is_timed``, memory and disk are counted and no batch is computed.

        Raises:
            FineTuningError: as :meth:`train` raises before its first step.
        """
        folder = RunFolder(run_folder)
        settings = self._new_settings(data, base, folder, Listening(), start_from)
        with opened(settings) as decoder:
            adapter = _initial_adapter(decoder, settings.plan, start_from)
            job = _job(settings, decoder, adapter, data)
            known = forecast(job, folder.path)
            if not is_timed:
                return known
            apply(known.memory, decoder)
            with memory_errors(settings, lambda: "a timed batch"):
                make = partial(AdapterTraining, decoder, adapter, objective=self.objective)
                return timed(job, make, known)

    @contextmanager
    def open(self, base: TrainingBase) -> Iterator[Decoder]:
        """Open a base as this trainer's runs want it, for several of them.

        Raises:
            FineTuningError: as the engine's decoder raises.
        """
        name = self.plan.compute_dtype
        dtype = None if name == "auto" else getattr(torch, name)
        with open_decoder(
            base.path, self.plan, dtype, context_tokens=base.context_tokens
        ) as decoder:
            yield decoder

    def _new_settings(
        self,
        data: TrainingData,
        base: TrainingBase,
        folder: RunFolder,
        listening: Listening,
        start_from: StartingPoint | None,
    ) -> RunSettings:
        """Return the settings of a new run; its number of threads is in force from here on."""
        data.learnable()
        plan = self.plan
        threads = plan.threads or torch.get_num_threads()
        torch.set_num_threads(threads)
        digest = base.digest or (file_sha256(base.path) if base.path.is_file() else "")
        fingerprint = tensor_fingerprint(base.path) if base.path.is_file() else ""
        if start_from is not None:
            start_from.check_base(digest, fingerprint)
            plan = start_from.in_its_form(plan)
        return RunSettings(
            run_id=folder.path.name,
            method=self.method,
            plan=plan,
            base_path=str(base.path.absolute()),
            base_digest=digest,
            base_name=base.name or base.path.name,
            base_fingerprint=fingerprint,
            prompts=base.prompts,
            snapshot=data.snapshot,
            threads=threads,
            compute_dtype="" if plan.compute_dtype == "auto" else plan.compute_dtype,
            compute_dtype_reason="",
            kernels="",
            created_at=iso(listening.clock.now()),
            versions=current_versions(),
            data_digests={},
            parents=() if start_from is None else (start_from.name,),
            context_tokens=base.context_tokens,
        )

    def _prepared(
        self,
        folder: RunFolder,
        settings: RunSettings,
        decoder: Decoder,
        adapter: LoraAdapter,
        known: Forecast,
    ) -> tuple[AdapterTraining, Export]:
        """Return what is trained, in the state its forecast asks for, and what writes it."""
        with memory_errors(settings, lambda: "the layers below the adapters"):
            apply(known.memory, decoder)
            data = folder.data(settings).learnable()
            states = frozen_prefix_cache(folder, settings, decoder, [*data.train, *data.validation])
        start_from = folder.starting_point(settings)
        reference = None
        if start_from is not None and self.objective and self.objective.needs_reference:
            reference = start_from.adapter()
        training = AdapterTraining(
            decoder, adapter, states, objective=self.objective, reference=reference
        )
        return training, partial(_export, settings, decoder, adapter)

    def _with_found_rate(
        self,
        settings: RunSettings,
        decoder: Decoder,
        fresh: Callable[[], LoraAdapter],
        data: TrainingData,
        listening: Listening,
    ) -> RunSettings:
        """Return settings with the learning rate that suits the data; takes seconds to minutes."""
        message = "trying learning rates on the data, a few steps each"
        now = iso(listening.clock.now())
        about: dict[str, Value] = {"run_id": settings.run_id, "message": message}
        listening.listener.on_event(RunEvent(kind="remark", time=now, step=0, values=about))

        def trainable() -> AdapterTraining:
            return AdapterTraining(decoder, fresh(), objective=self.objective)

        with memory_errors(settings, lambda: "looking for a learning rate"):
            found = find_rate(trainable, data.learnable(), settings.plan)
        plan = replace(
            settings.plan,
            learning_rate=found.learning_rate,
            rate_reason=found.reason,
            finds_rate=False,
        )
        return replace(settings, plan=plan)


def _remarks(settings: RunSettings, known: Forecast) -> list[Mapping[str, Value]]:
    remarks: list[Mapping[str, Value]] = [known.values()]
    if settings.plan.rate_reason:
        remarks.append({"message": settings.plan.rate_reason})
    if settings.parents:
        remarks.append({"message": f"goes on from {', '.join(settings.parents)}"})
    return remarks


def _job(
    settings: RunSettings, decoder: Decoder, adapter: LoraAdapter, data: TrainingData
) -> ForecastInput:
    return ForecastInput(
        decoder=decoder,
        adapter=adapter,
        plan=settings.plan,
        data=data.learnable(),
        threads=settings.threads,
        wants_unpacked=settings.method == "lora",
    )


def _initial_adapter(
    decoder: Decoder, plan: TrainingPlan, start_from: StartingPoint | None
) -> LoraAdapter:
    """Return the adapter a run begins with.

    Raises:
        ConfigError: if fast mode would leave some of a version's adapter out, or as
            :func:`fresh_adapter` raises.
    """
    if start_from is None:
        return fresh_adapter(decoder, plan)
    adapter, first = start_from.adapter(), first_adapted(plan, len(decoder.blocks))
    lowest = min(int(name.split(".")[1]) for name in adapter.targets)
    if lowest < first:
        raise ConfigError(
            f"mode fast adapts the layers from {first} on, and {start_from.name} adapts "
            f"layer {lowest}",
            next_command="--set training.mode=quality",
        )
    return adapter


def _export(settings: RunSettings, decoder: Decoder, adapter: LoraAdapter, folder: Path) -> None:
    """Write the adapter's files into a folder."""
    # No run id, no time: equal adapters are equal files.
    about = {
        BASE_DIGEST_KEY: settings.base_digest,
        BASE_NAME_KEY: settings.base_name,
        "fine_tuning.snapshot": settings.snapshot,
    }
    architecture = decoder.shape.architecture
    write_gguf_adapter(folder / ADAPTER_GGUF, adapter, architecture=architecture, metadata=about)
    write_peft_adapter(
        folder, adapter, decoder.shape, settings.base_name, base_digest=settings.base_digest
    )


def _with_arithmetic(settings: RunSettings, decoder: Decoder) -> RunSettings:
    name = str(decoder.dtype).removeprefix("torch.")
    return replace(
        settings,
        compute_dtype=name,
        compute_dtype_reason=decoder.dtype_reason,
        kernels=decoder.kernels_name.removeprefix("C++ "),
    )


def _refuse_other_base(settings: RunSettings) -> None:
    path = Path(settings.base_path)
    if not path.is_file():
        raise TrainingError(
            f"the run's base model {path} is gone, expected {settings.base_digest}",
            next_command=f"fetch {settings.base_name} again, then resume",
        )
    if settings.base_fingerprint and tensor_fingerprint(path) == settings.base_fingerprint:
        return  # perhaps rewritten by its server; its weights are the same
    if settings.base_digest and (found := file_sha256(path)) != settings.base_digest:
        raise TrainingError(
            f"the run's base model {path} is {found}, expected {settings.base_digest}",
            next_command=f"fetch {settings.base_name} again, then resume",
        )
