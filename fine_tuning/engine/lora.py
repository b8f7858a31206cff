"""Low-rank adapters (LoRA, arXiv 2106.09685): ``y = W x + s * B (A x)``, s = alpha / rank.

With ``use_rslora`` s = alpha / sqrt(rank) (rsLoRA, arXiv 2312.03732). A starts uniform in
+-1/sqrt(n_in) (PEFT's Kaiming choice), B at zero, so that training starts at the base model.
In the block-sum form (QA-LoRA, arXiv 2309.14717) A reads the sums of x over blocks of 32, so that
``s * B A`` is constant within a quantisation block and folds into the block's minimum.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import torch
from torch import Tensor

from fine_tuning.core.errors import ConfigError, TrainingError
from fine_tuning.engine.packed import StackedLinear
from fine_tuning.gguf.adapter import SUFFIX_A, SUFFIX_B
from fine_tuning.gguf.requantize_exact import BLOCK

Number = TypeVar("Number", int, float)
Form = Literal["plain", "qalora"]
"""How A reads its input: each number for itself, or the sums over blocks of 32."""

# A step of Adam moves A x about as far in both forms at about sqrt(32), so that one learning rate
# suits both (measured in docs/LOG.md); a power of two, so that dividing by it loses nothing.
BLOCK_GAIN = 4.0


@dataclass(frozen=True, slots=True)
class LoraPair:
    """The two factors of one weight's update, float32 leaves: A (rank, n_in), B (n_out, rank).

    In the form ``qalora`` A is (rank, n_in / 32) and reads ``BLOCK_GAIN`` times the block sums.
    ``gain`` multiplies the adapter's scale for this pair alone; files have it folded into B.
    """

    a: Tensor
    b: Tensor
    form: Form = "plain"
    gain: float = 1.0

    @property
    def rank(self) -> int:
        """The inner dimension."""
        return self.a.shape[0]

    def expanded_a(self) -> Tensor:
        """Return A as it acts on the input itself (rank, n_in)."""
        if self.form == "plain":
            return self.a
        return self.a.mul(BLOCK_GAIN).repeat_interleave(BLOCK, dim=1)

    def compact(self, expanded_RI: Tensor) -> Tensor:
        """Return the gradient of A, given that of :meth:`expanded_a`."""
        if self.form == "plain":
            return expanded_RI
        blocks = expanded_RI.float().reshape(self.rank, -1, BLOCK)
        return blocks.sum(-1).mul_(BLOCK_GAIN)

    @classmethod
    def from_expanded(cls, a: Tensor, b: Tensor, form: Form) -> LoraPair:
        """Make a pair of an A that acts on the input itself.

        In the form ``qalora`` the columns of each block MUST be equal; one of them is kept.

        Args:
            a: Factor A (rank, n_in).
            b: Factor B (n_out, rank).
            form: The form of the pair.

        Returns:
            The pair, without a copy in the plain form.
        """
        return cls(a if form == "plain" else a[:, ::BLOCK] / BLOCK_GAIN, b, form)


class LoraAdapter:
    """Pairs of factors by the name of the weight they adapt ("blk.0.attn_q.weight")."""

    def __init__(
        self, pairs: Mapping[str, LoraPair], *, rank: int, alpha: float, use_rslora: bool = False
    ) -> None:
        self.pairs = dict(pairs)
        self.rank = rank
        self.alpha = alpha
        self.use_rslora = use_rslora

    @classmethod
    def create(  # noqa: PLR0913 - all but the shapes are numbers with a name
        cls,
        shapes: Mapping[str, tuple[int, int]],
        *,
        rank: int,
        alpha: float,
        seed: int,
        use_rslora: bool = False,
        qalora: Collection[str] = (),
        ranks: Mapping[str, int] | None = None,
        alphas: Mapping[str, float] | None = None,
    ) -> LoraAdapter:
        """Make a fresh adapter.

        Args:
            shapes: (n_out, n_in) of each weight to adapt, by name.
            rank: Inner dimension, at least 1.
            alpha: Numerator of the scale.
            seed: Of the draw of A; the same seed and names give the same adapter.
            use_rslora: Divide by the root of the rank.
            qalora: Names of the weights whose pair takes the block-sum form; their n_in is a
                multiple of 32.
            ranks: Inner dimensions of their own, by a weight's name ("blk.0.attn_q.weight") or its
                layer's ("attn_q"); the weight's own name comes first.
            alphas: Numerators of their own, in the same way; a pair's scale is its alpha divided
                by its rank, or the root of it.

        Returns:
            The adapter: A drawn uniformly in float32, B zero.

        Raises:
            ConfigError: if a rank is below 1 or nothing is to be adapted.
        """
        ranks, alphas = ranks or {}, alphas or {}
        if min((rank, *ranks.values())) < 1:
            raise ConfigError(f"LoRA ranks are {(rank, *ranks.values())}, expected 1 or more")
        if not shapes:
            raise ConfigError("no weight was chosen for adaptation, expected at least one")
        generator = torch.Generator().manual_seed(seed)
        pairs = {}
        for name, (n_out, n_in) in shapes.items():
            bound, width = 1 / math.sqrt(n_in), n_in
            form: Form = "plain"
            if name in qalora:  # the same spread of A x, were x uncorrelated
                bound, form, width = bound / BLOCK_GAIN, "qalora", n_in // BLOCK
            r, own_alpha = _of_weight(ranks, name, rank), _of_weight(alphas, name, alpha)
            gain = own_alpha / alpha * (rank / r) ** (0.5 if use_rslora else 1.0)
            a = torch.empty(r, width).uniform_(-bound, bound, generator=generator)
            pairs[name] = LoraPair(a, torch.zeros(n_out, r), form, gain)
        return cls(pairs, rank=rank, alpha=alpha, use_rslora=use_rslora)

    @property
    def scale(self) -> float:
        """The factor s."""
        return self.alpha / (math.sqrt(self.rank) if self.use_rslora else self.rank)

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the adapted weights, in creation order."""
        return tuple(self.pairs)

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """(n_out, n_in) of the adapted weights, by name."""
        width = {"plain": 1, "qalora": BLOCK}
        return {
            name: (pair.b.shape[0], pair.a.shape[1] * width[pair.form])
            for name, pair in self.pairs.items()
        }

    @property
    def qalora(self) -> tuple[str, ...]:
        """Names of the weights whose pair has the block-sum form."""
        return tuple(name for name, pair in self.pairs.items() if pair.form == "qalora")

    @property
    def num_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(tensor.numel() for tensor in self.parameters())

    def parameters(self) -> list[Tensor]:
        """Return all factors, A before B of each weight, in a fixed order."""
        return [tensor for pair in self.pairs.values() for tensor in (pair.a, pair.b)]

    def with_own_gradients(self) -> LoraAdapter:
        """Return an adapter over the same numbers whose gradients are its own."""
        pairs = {
            name: replace(pair, a=pair.a.detach(), b=pair.b.detach())
            for name, pair in self.pairs.items()
        }
        return LoraAdapter(pairs, rank=self.rank, alpha=self.alpha, use_rslora=self.use_rslora)

    def add_gradients(self, other: LoraAdapter) -> None:
        """Add another adapter's gradients to this one's."""
        for own, its in zip(self.parameters(), other.parameters(), strict=True):
            if its.grad is not None:
                _add_gradient(own, its.grad, 1.0)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the factors by llama.cpp's names; the tensors themselves, not copies."""
        state = {}
        for name, pair in self.pairs.items():
            state[name + SUFFIX_A], state[name + SUFFIX_B] = pair.a, pair.b
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy factors in.

        Raises:
            TrainingError: if names or shapes differ from the adapter's.
        """
        own = self.state_dict()
        if own.keys() != state.keys():
            names = ", ".join(sorted(own.keys() ^ state.keys())[:3])
            raise TrainingError(f"an adapter's tensors differ from the expected ones: {names}")
        for name, tensor in own.items():
            if tensor.shape != state[name].shape:
                raise TrainingError(
                    f"{name} has shape {tuple(state[name].shape)}, expected {tuple(tensor.shape)}"
                )
            tensor.copy_(state[name])


class StackedAdapter:
    """The adapter of one stacked product: A's concatenated, B's block-diagonal, compute dtype.

    B holds each pair's gain.

    Built once per step; the factors do not change within it.
    """

    def __init__(self, adapter: LoraAdapter, linear: StackedLinear, dtype: torch.dtype) -> None:
        """Stack what the adapter holds for a product's members; possibly nothing."""
        self._spans: list[tuple[LoraPair, int, int, int]] = []
        self._linear = linear
        self.scale = adapter.scale
        row, inner = 0, 0
        for member in linear.members:
            if (pair := adapter.pairs.get(member.name)) is not None:
                self._spans.append((pair, inner, row, row + member.n_out))
                inner += pair.rank
            row += member.n_out
        self.a_RI = torch.empty(inner, linear.n_in, dtype=dtype)
        self.b_OR = torch.zeros(linear.n_out, inner, dtype=dtype)
        for pair, first, top, bottom in self._spans:
            self.a_RI[first : first + pair.rank] = pair.expanded_a()
            b = pair.b if pair.gain == 1 else pair.b * pair.gain
            self.b_OR[top:bottom, first : first + pair.rank] = b

    @property
    def is_empty(self) -> bool:
        """True when no member is adapted."""
        return not self._spans

    def product(self, x_TI: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the adapted product (T, O), and t = x A^T (T, R), which backward needs.

        t is None where nothing is adapted.
        """
        y_TO = torch.nn.functional.linear(x_TI, self._linear.weight(), self._linear.bias)
        if self.is_empty:
            return y_TO, None
        t_TR = x_TI @ self.a_RI.T
        y_TO.addmm_(t_TR, self.b_OR.T, alpha=self.scale)
        return y_TO, t_TR

    def inner_gradient(self, dy_TO: Tensor) -> Tensor:
        """Return dt = s * dy B (T, R)."""
        return torch.mm(dy_TO, self.b_OR).mul_(self.scale)

    def accumulate(self, x_TI: Tensor, t_TR: Tensor, dt_TR: Tensor, dy_TO: Tensor) -> None:
        """Add dA = dt^T x and dB = s * dy^T t to the factors' gradients.

        Args:
            x_TI: Input of the product, compute dtype.
            t_TR: x A^T, as :meth:`product` returned it.
            dt_TR: Its gradient, as :meth:`inner_gradient` returned it.
            dy_TO: Gradient of the product, compute dtype.
        """
        da_RI = dt_TR.T @ x_TI
        db_RO = t_TR.T @ dy_TO
        for pair, first, top, bottom in self._spans:
            inner = slice(first, first + pair.rank)
            _add_gradient(pair.a, pair.compact(da_RI[inner]), 1.0)
            _add_gradient(pair.b, db_RO[inner, top:bottom].T, self.scale * pair.gain)


def _of_weight(values: Mapping[str, Number], name: str, usual: Number) -> Number:
    """Return a weight's own value, or that of its layer, or the usual one."""
    layer = "".join(name.split(".")[2:3])
    return values.get(name, values.get(layer, usual))


def _add_gradient(parameter: Tensor, gradient: Tensor, factor: float) -> None:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    parameter.grad.add_(gradient.float(), alpha=factor)
