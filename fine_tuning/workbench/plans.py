"""Settings, in which null means "none" or "decide for me", to the plain numbers of a run."""

from __future__ import annotations

import psutil

from fine_tuning.config.schema import Training
from fine_tuning.training.plan import TrainingPlan


def training_plan(training: Training) -> TrainingPlan:
    """Return what the settings ask of a run; where they leave it open, physical cores are used."""
    targets = training.target_modules
    return TrainingPlan(
        rank=training.lora_r,
        alpha=training.lora_alpha,
        use_rslora=training.use_rslora,
        targets=() if isinstance(targets, str) else targets,
        learning_rate=training.learning_rate,
        num_epochs=training.num_epochs,
        batch_size=training.batch_size,
        gradient_accumulation=training.gradient_accumulation,
        warmup_ratio=training.warmup_ratio,
        schedule=training.schedule,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm or 0.0,
        patience=training.early_stopping_patience or 0,
        evaluate_every=training.evaluate_every or 0,
        checkpoint_every=training.checkpoint_every_steps or 0,
        checkpoint_every_s=training.checkpoint_every_s or 0.0,
        max_steps=training.max_steps or 0,
        seed=training.seed,
        threads=training.threads or psutil.cpu_count(logical=False) or 1,
        compute_dtype=training.compute_dtype,
    )
