"""QLoRA: an adapter over weights that stay packed (arXiv 2305.14314, on GGUF's own blocks).

Each weight is unpacked when a product needs it and forgotten after it, so memory stays near the
size of the file. The numbers are those of LoRA.
"""

from __future__ import annotations

from fine_tuning.training.adapter_run import BaseTrainer


class QLoRATrainer(BaseTrainer):
    """Trains with the frozen weights packed as the GGUF file has them."""

    method = "qlora"
