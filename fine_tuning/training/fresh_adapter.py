"""The untrained adapter a plan asks for, and which of its pairs fold into the base."""

from __future__ import annotations

from fine_tuning.core.errors import ConfigError
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.lora import LoraAdapter
from fine_tuning.gguf.requantize_exact import EXACT_TYPES
from fine_tuning.training.fast_mode import first_adapted
from fine_tuning.training.plan import TrainingPlan


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
    for setting, values in (("ranks", plan.ranks), ("alphas", plan.alphas)):
        if strange := sorted(values.keys() - known - decoder.linear_shapes.keys()):
            raise ConfigError(f"{setting} name {', '.join(strange)}, which the model has not")
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
        ranks=plan.ranks,
        alphas=plan.alphas,
        qalora=[name for name in foldable_weights(decoder) if folds(plan, name)],
    )


def foldable_weights(decoder: Decoder) -> frozenset[str]:
    """Return the names of linear layers whose type a block sum folds into."""
    return frozenset(
        member.name
        for block in decoder.blocks
        for linear in block.linears
        for member in linear.members
        if member.type_id in EXACT_TYPES
    )


def folds(plan: TrainingPlan, name: str) -> bool:
    """Tell whether a plan adapts a tensor by block sums, if it is a linear layer and can be."""
    layer = "".join(name.split(".")[2:3])
    if plan.adapter != "mergeable" or not layer or layer in plan.eight_bit:
        return False
    return not plan.targets or layer in plan.targets
