"""LoRA: an adapter over weights that are unpacked once (arXiv 2106.09685).

Faster than unpacking per use where the unpacked weights fit into memory; where they do not, QLoRA
computes the same numbers.
"""

from __future__ import annotations

from fine_tuning.training.adapter_run import BaseTrainer


class LoRATrainer(BaseTrainer):
    """Trains with the frozen weights unpacked in memory."""

    method = "lora"
