"""A run on real weights: joins the engine's decoder and adapter to the loop and the run folder.

The two trainers differ in whether the frozen weights are unpacked where memory allows; nothing
else here depends on which.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from fine_tuning.core.clock import iso
from fine_tuning.core.errors import ConfigError, TrainingError
from fine_tuning.core.events import RunEvent, Value
from fine_tuning.core.item import Item
from fine_tuning.core.naming import file_sha256
from fine_tuning.core.run import ADAPTER_GGUF, Run
from fine_tuning.engine.adapter_files import write_gguf_adapter
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.lora import LoraAdapter
from fine_tuning.engine.lower_states import LowerStates
from fine_tuning.engine.peft_files import write_peft_adapter
from fine_tuning.engine.step import StepResult, Teacher, accumulate_gradients, score_targets
from fine_tuning.gguf.adapter import BASE_DIGEST_KEY, BASE_NAME_KEY
from fine_tuning.gguf.promote import PROMOTIONS
from fine_tuning.training.fast_mode import first_adapted, lower_states
from fine_tuning.training.forecast import Forecast, Job, apply, forecast, timed
from fine_tuning.training.objective import Credit, Objective, SupervisedObjective
from fine_tuning.training.plan import TrainingData, TrainingPlan
from fine_tuning.training.rate_probe import find_rate
from fine_tuning.training.run import Listening, carry_out, memory_errors
from fine_tuning.training.run_folder import (
    RunFolder,
    RunSettings,
    current_versions,
    resume_command,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """The GGUF file a run starts from, and the name the user knows it by.

    ``digest`` is ``sha256:<64 hex>`` of the file when the caller knows it; "" lets it be computed.
    """

    path: Path
    name: str = ""
    digest: str = ""


class AdapterTraining:
    """An adapter over a frozen decoder, as the loop wants it (``trainer_utils.Trainable``).

    An objective that is not the likelihood itself costs a second forward pass, and a third one for
    its reference, the base without the adapter.

    Args:
        decoder: The frozen base.
        adapter: What is trained.
        below: Knows the states that enter the first adapted block.
        objective: What is minimised.
        teacher: Gives distributions to come near to, in place of the targets.
        reference: What an objective compares with; None is the bare base.
    """

    def __init__(
        self,
        decoder: Decoder,
        adapter: LoraAdapter,
        below: LowerStates | None = None,
        *,
        objective: Objective | None = None,
        teacher: Teacher | None = None,
        reference: LoraAdapter | None = None,
    ) -> None:
        self.decoder = decoder
        self.adapter = adapter
        self._below = below
        self._objective = objective or SupervisedObjective()
        self._teacher = teacher
        self._reference = reference

    def parameters(self) -> list[torch.Tensor]:
        """Return the factors."""
        return self.adapter.parameters()

    def size(self, batch: Sequence[Item]) -> float:
        """Return what the objective's mean is over."""
        return self._objective.size(batch)

    def accumulate(self, batch: Sequence[Item], *, scale: float) -> StepResult:
        """Add the gradient of a batch."""
        credit = None if self._objective.is_likelihood else self._credit(batch)[0]
        result = accumulate_gradients(
            self.decoder,
            self.adapter,
            batch,
            coefficients=scale if credit is None else [scale * c for c in credit.coefficients],
            teacher=self._teacher,
            below=self._below,
        )
        return result if credit is None else replace(result, loss_sum=credit.loss_sum)

    def evaluate(self, batch: Sequence[Item]) -> StepResult:
        """Return the loss of a batch; with a teacher, that of its targets."""
        credit, result = self._credit(batch)
        return replace(result, loss_sum=credit.loss_sum)

    def _credit(self, batch: Sequence[Item]) -> tuple[Credit, StepResult]:
        scores = score_targets(self.decoder, self.adapter, batch, self._below)
        own = [score.weighted(item) for score, item in zip(scores, batch, strict=True)]
        reference = None
        if self._objective.needs_reference:
            known = score_targets(self.decoder, self._reference, batch, self._below)
            reference = [score.weighted(item) for score, item in zip(known, batch, strict=True)]
        num_targets = sum(len(score.log_probabilities) for score in scores)
        num_tokens = sum(score.num_tokens for score in scores)
        return self._objective.credit(batch, own, reference), StepResult(
            -sum(own), num_targets, num_tokens
        )

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the factors by name."""
        return self.adapter.state_dict()

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Copy factors in."""
        self.adapter.load_state_dict(state)


class AdapterTrainer:
    """Trains an adapter by the plan; a method is a subclass that names itself.

    Args:
        plan: The numbers; the defaults suit small chat data.
    """

    method: str

    def __init__(self, plan: TrainingPlan | None = None) -> None:
        self.plan = plan or TrainingPlan()

    def train(
        self,
        data: TrainingData,
        base: BaseModel,
        run_folder: Path,
        listening: Listening | None = None,
    ) -> Run:
        """Train in a new folder; see :func:`start` for what can go wrong."""
        folder = RunFolder(run_folder)
        return start(self.plan, self.method, data, base, folder, listening or Listening())

    def forecast(
        self, data: TrainingData, base: BaseModel, run_folder: Path, *, is_timed: bool = True
    ) -> Forecast:
        """Tell what a run would take, from a few timed batches; nothing is written.

        Without ``is_timed``, memory and disk are counted and no batch is computed.

        Raises:
            FineTuningError: as :func:`start` raises before its first step.
        """
        folder = RunFolder(run_folder)
        settings = _new_settings(self.plan, self.method, data, base, folder, Listening())
        with _opened(settings) as decoder:
            adapter = fresh_adapter(decoder, self.plan)
            job = _job(settings, decoder, adapter, data)
            known = forecast(job, folder.path)
            if not is_timed:
                return known
            apply(known.memory, decoder)
            with memory_errors(settings, lambda: "a timed batch"):
                return timed(job, partial(AdapterTraining, decoder, adapter), known)

    def resume(self, run_folder: Path, listening: Listening | None = None) -> Run:
        """Go on with an interrupted run; its own plan holds, see :func:`resume`."""
        return resume(RunFolder(run_folder), self.method, listening or Listening())


def start(
    plan: TrainingPlan,
    method: str,
    data: TrainingData,
    base: BaseModel,
    folder: RunFolder,
    listening: Listening,
) -> Run:
    """Begin a run and carry it out.

    Raises:
        DataError: if no training sequence has a target.
        ConfigError: if the plan adapts layers the model does not have.
        TrainingError: if the folder holds a run already, or another process works in it.
        FineTuningError: as :func:`run.carry_out` and the engine's decoder raise.
    """
    settings = _new_settings(plan, method, data, base, folder, listening)
    with _opened(settings) as decoder:
        adapter = fresh_adapter(decoder, plan)
        known = forecast(_job(settings, decoder, adapter, data), folder.path)
        with folder.locked():
            if plan.finds_rate:
                apply(known.memory, decoder)
                settings = _with_found_rate(settings, decoder, data, listening)
            settings = folder.begin(_with_arithmetic(settings, decoder), data)
            return _carry_out(folder, settings, decoder, adapter, known, listening)


def _new_settings(
    plan: TrainingPlan,
    method: str,
    data: TrainingData,
    base: BaseModel,
    folder: RunFolder,
    listening: Listening,
) -> RunSettings:
    """Return the settings of a new run; the number of threads is in force from here on."""
    data.learnable()
    threads = plan.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    return RunSettings(
        run_id=folder.path.name,
        method=method,
        plan=plan,
        base_path=str(base.path.absolute()),
        base_digest=base.digest or (file_sha256(base.path) if base.path.is_file() else ""),
        base_name=base.name or base.path.name,
        snapshot=data.snapshot,
        threads=threads,
        compute_dtype="" if plan.compute_dtype == "auto" else plan.compute_dtype,
        compute_dtype_reason="",
        kernels="",
        created_at=iso(listening.clock.now()),
        versions=current_versions(),
        data_digests={},
    )


def _job(settings: RunSettings, decoder: Decoder, adapter: LoraAdapter, data: TrainingData) -> Job:
    return Job(
        decoder=decoder,
        adapter=adapter,
        plan=settings.plan,
        data=data.learnable(),
        threads=settings.threads,
        wants_unpacked=settings.method == "lora",
    )


def resume(folder: RunFolder, method: str, listening: Listening) -> Run:
    """Go on with a run where it was interrupted; a finished one is returned as it is.

    Raises:
        TrainingError: if the folder holds no run or one of another method, another process works
            on it, its data was changed, or its base model is not the file it was started with.
        FineTuningError: as :func:`run.carry_out` and the engine's decoder raise.
    """
    settings = folder.settings()
    if settings.method != method:
        raise TrainingError(
            f"run {folder.path.name} was started with method {settings.method}, expected {method}",
            next_command=resume_command(folder.path),
        )
    with folder.locked():
        if folder.manifest_path.exists():
            return folder.finished_run()
        torch.set_num_threads(settings.threads)
        _refuse_other_base(settings)
        with _opened(settings) as decoder:
            adapter = fresh_adapter(decoder, settings.plan)
            job = _job(settings, decoder, adapter, folder.data(settings))
            known = forecast(job, folder.path)
            return _carry_out(folder, settings, decoder, adapter, known, listening)


def fresh_adapter(decoder: Decoder, plan: TrainingPlan) -> LoraAdapter:
    """Return the untrained adapter of a plan.

    Raises:
        ConfigError: if a target of the plan is no linear layer of the model.
    """
    layers = {name: name.split(".")[2] for name in decoder.linear_shapes}
    known = tuple(dict.fromkeys(layers.values()))
    for setting, named, otherwise in (
        ("targets", plan.targets, "target_modules=all-linear"),
        ("eight_bit", plan.eight_bit, "eight_bit_modules=[]"),
    ):
        if unknown := [target for target in named if target not in known]:
            raise ConfigError(
                f"{setting} name {', '.join(unknown)}, expected some of {', '.join(known)}",
                next_command=f"fine-tuning train --set training.{otherwise}",
            )
    wanted = plan.targets or known
    first = first_adapted(plan, len(decoder.blocks))
    shapes = {
        name: shape
        for name, shape in decoder.linear_shapes.items()
        if layers[name] in wanted and int(name.split(".")[1]) >= first
    }
    return LoraAdapter.create(
        shapes,
        rank=plan.rank,
        alpha=plan.alpha,
        seed=plan.seed,
        use_rslora=plan.use_rslora,
        block_sum=[name for name in foldable_weights(decoder) if _folds(plan, name)],
    )


def foldable_weights(decoder: Decoder) -> frozenset[str]:
    """Return the names of linear layers whose type a block sum folds into."""
    return frozenset(
        member.name
        for block in decoder.blocks
        for linear in block.linears
        for member in linear.members
        if member.type_id in PROMOTIONS
    )


def _folds(plan: TrainingPlan, name: str) -> bool:
    """Tell whether a plan adapts a tensor by block sums, if it is a linear layer and can be."""
    layer = "".join(name.split(".")[2:3])
    if plan.adapter != "mergeable" or not layer or layer in plan.eight_bit:
        return False
    return not plan.targets or layer in plan.targets


@contextmanager
def _opened(settings: RunSettings) -> Iterator[Decoder]:
    """Open the base's weights as the method wants them, in the run's arithmetic if it has one."""
    name, plan = settings.compute_dtype, settings.plan
    dtype: torch.dtype | None = getattr(torch, name) if name else None
    with memory_errors(settings, lambda: "loading the model"):
        decoder = Decoder.open(
            Path(settings.base_path),
            dtype=dtype,
            kernels=settings.kernels or None,
            # A mergeable adapter learns on the weights as its merge will write them.
            promoted=partial(_folds, plan) if plan.adapter == "mergeable" else None,
        )
    try:
        yield decoder
    finally:
        decoder.close()


def _carry_out(
    folder: RunFolder,
    settings: RunSettings,
    decoder: Decoder,
    adapter: LoraAdapter,
    known: Forecast,
    listening: Listening,
) -> Run:
    with memory_errors(settings, lambda: "the layers below the adapters"):
        apply(known.memory, decoder)
        data = folder.data(settings).learnable()
        states = lower_states(folder, settings, decoder, [*data.train, *data.validation])
    training = AdapterTraining(decoder, adapter, states)

    def export(place: Path) -> None:
        # No run id, no time: equal adapters are equal files.
        about = {
            BASE_DIGEST_KEY: settings.base_digest,
            BASE_NAME_KEY: settings.base_name,
            "fine_tuning.snapshot": settings.snapshot,
        }
        architecture = decoder.shape.architecture
        write_gguf_adapter(place / ADAPTER_GGUF, adapter, architecture=architecture, metadata=about)
        write_peft_adapter(
            place,
            adapter,
            decoder.shape,
            settings.base_name,
            base_digest=settings.base_digest,
        )

    remarks = [known.values()]
    if settings.plan.rate_reason:
        remarks.append({"message": settings.plan.rate_reason})
    return carry_out(folder, settings, training, export, listening, remarks)


def _with_found_rate(
    settings: RunSettings, decoder: Decoder, data: TrainingData, listening: Listening
) -> RunSettings:
    """Return settings with the learning rate that suits the data; takes seconds to minutes."""
    message = "trying learning rates on the data, a few steps each"
    now = iso(listening.clock.now())
    about: dict[str, Value] = {"run_id": settings.run_id, "message": message}
    listening.listener.on_event(RunEvent(kind="remark", time=now, step=0, values=about))

    def fresh() -> AdapterTraining:
        return AdapterTraining(decoder, fresh_adapter(decoder, settings.plan))

    with memory_errors(settings, lambda: "looking for a learning rate"):
        found = find_rate(fresh, data.learnable(), settings.plan)
    plan = replace(
        settings.plan, learning_rate=found.learning_rate, rate_reason=found.reason, finds_rate=False
    )
    return replace(settings, plan=plan)


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
    if settings.base_digest and (found := file_sha256(path)) != settings.base_digest:
        raise TrainingError(
            f"the run's base model {path} is {found}, expected {settings.base_digest}",
            next_command=f"fetch {settings.base_name} again, then resume",
        )
