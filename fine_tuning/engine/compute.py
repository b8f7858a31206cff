"""Which number format the matrix products use on this processor, and why."""

from __future__ import annotations

import torch


def compute_dtype() -> tuple[torch.dtype, str]:
    """Return the fastest safe compute dtype and the reason, in words for the user.

    bfloat16 products are fast only with AMX or AVX512-BF16 instructions; without them they are
    6 to 11 times slower than float32 (measured with capped instruction sets). The cap
    ``ATEN_CPU_CAPABILITY`` is respected.
    """
    if "AVX512" not in torch.backends.cpu.get_cpu_capability():
        return torch.float32, "the processor (or its cap) has no AVX-512, where bfloat16 is slow"
    if torch.cpu._is_amx_tile_supported():  # noqa: SLF001 - torch offers no public question
        return torch.bfloat16, "the processor has AMX"
    if torch.cpu._is_avx512_bf16_supported():  # noqa: SLF001 - as above
        return torch.bfloat16, "the processor has AVX512-BF16"
    return torch.float32, "the processor has neither AMX nor AVX512-BF16, where bfloat16 is slow"
