"""How positions rotate queries and keys: base, scale, yarn's ramp, and a factor on the length.

Facts follow llama.cpp: src/llama-context.cpp (the yarn factors), ggml/src/ggml-cpu/ops.cpp
(rope_yarn, ggml_rope_yarn_corr_dims), src/llama-model.cpp (get_rope_factors).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fine_tuning.engine.kernels.interface import Rope

if TYPE_CHECKING:
    import torch

MIN_RAMP = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Yarn:
    """YaRN (arXiv 2309.00071): slow rotations are scaled, fast ones kept, a ramp lies between.

    ``strength`` is llama.cpp's ext_factor, 1 for the whole ramp; the betas are the numbers of
    turns within ``original_context_tokens`` at which the ramp begins and ends.
    """

    original_context_tokens: int
    strength: float = 1.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0

    def kept(self, n_rot: int, base: float) -> torch.Tensor:
        """Return how much of each frequency is kept unscaled (n_rot / 2,), 0 to 1.

        Args:
            n_rot: How many numbers of a head are rotated.
            base: Rope's base.
        """
        import torch  # noqa: PLC0415 - slow to load, and not needed to know the kinds of models

        low = max(0.0, math.floor(self._dimension(n_rot, base, self.beta_fast)))
        high = min(n_rot - 1.0, math.ceil(self._dimension(n_rot, base, self.beta_slow)))
        dimension = torch.arange(n_rot // 2, dtype=torch.float64)
        ramp = ((dimension - low) / max(MIN_RAMP, high - low)).clamp(0, 1)
        return (1 - ramp) * self.strength

    def _dimension(self, n_rot: int, base: float, turns: float) -> float:
        """Return the dimension that makes so many turns within the original context."""
        wavelengths = self.original_context_tokens / (turns * 2 * math.pi)
        return n_rot * math.log(wavelengths) / (2 * math.log(base))


@dataclass(frozen=True, slots=True)
class RopeShape:
    """How positions rotate: base, frequency scale, a factor on cosines and sines, and yarn."""

    base: float
    scale: float
    magnitude: float
    yarn: Yarn | None = None

    def table(self, n_rot: int, num_positions: int, factors: torch.Tensor | None) -> Rope:
        """Return cosines and sines of positions 0 ... num_positions - 1.

        Angle i of position p is ``p * scale * base^(-2i / n_rot) / factors[i]`` (RoFormer, arXiv
        2104.09864, section 3.2.2; ggml_rope_ext for factors and magnitude). With yarn a part of
        each frequency is not scaled.

        Args:
            n_rot: How many numbers of a head are rotated, even.
            num_positions: How many positions, at least 1.
            factors: Divisors of the frequencies (n_rot / 2,), or None.
        """
        import torch  # noqa: PLC0415 - slow to load, and not needed to know the kinds of models

        exponent = torch.arange(0, n_rot, 2, dtype=torch.float64) / n_rot
        frequency, magnitude = self.base**-exponent, self.magnitude
        if factors is not None:
            frequency = frequency / factors.double()
        if self.yarn is None:
            frequency = self.scale * frequency
        else:
            kept = self.yarn.kept(n_rot, self.base)
            frequency = frequency * (self.scale * (1 - kept) + kept)
            magnitude *= 1 - 0.1 * math.log(self.scale)
        angle = torch.arange(num_positions, dtype=torch.float64)[:, None] * frequency
        return Rope((angle.cos() * magnitude).float(), (angle.sin() * magnitude).float())


def yarn_magnitude(scale: float) -> float:
    """Return the factor llama.cpp puts on a yarn model's rotations outside the rotation itself.

    The rotation multiplies by ``1 + 0.1 ln(1 / scale)``, and this undoes it where a model is not
    stretched at all, so that the product is never below 1 (llama-context.cpp).

    Args:
        scale: Of the model's frequencies; 1 / 4 stretches the context four times.
    """
    grown = 1 - 0.1 * math.log(scale)
    return (grown if scale < 1 else 1.0) / grown
