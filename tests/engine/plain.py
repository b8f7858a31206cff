"""The small models' decoders in plain torch with autograd, written from the textbook formula."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from fine_tuning.core.example import TokenizedExample
from fine_tuning.engine.lora import LoraAdapter
from fine_tuning.gguf.reader import GgufFile
from tests.engine.tiny import EPS, LLAMA, TinyModel


class PlainDecoder:
    """The textbook decoder in float32 under autograd, one sequence at a time."""

    def __init__(
        self, path: Path, adapter: LoraAdapter | None = None, model: TinyModel = LLAMA
    ) -> None:
        with GgufFile.open(path) as file:
            self.w = {n: torch.from_numpy(file.dequantize(n).copy()) for n in file.tensors}
        self.adapter, self.model = adapter, model

    def _linear(self, x: Tensor, name: str) -> Tensor:
        y = x @ self.w[f"{name}.weight"].T + self.w.get(f"{name}.bias", torch.zeros(1))
        pair = self.adapter.pairs.get(f"{name}.weight") if self.adapter is not None else None
        if self.adapter is not None and pair is not None:
            y = y + self.adapter.scale * (x @ pair.a.T @ pair.b.T)
        return y

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight = self.w[f"{name}.weight"]
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS) * weight

    def _rotate(self, x: Tensor, layer: int) -> Tensor:  # (heads, S, d)
        m, d, length = self.model, x.shape[-1], x.shape[1]
        base = m.rope_bases[layer] if m.rope_bases else 10000.0
        scale = m.rope_scales[layer] if m.rope_scales else 1.0
        frequency = scale * base ** (-torch.arange(0, d, 2) / d)
        frequency = frequency / self.w.get(m.factors_used, torch.ones(d // 2))
        frequency, magnitude = self._yarned(frequency, base, d)
        angle = torch.arange(length)[:, None] * frequency
        pairs = (
            x.unflatten(-1, (2, -1)).transpose(-1, -2)
            if m.rotates_halves
            else x.unflatten(-1, (-1, 2))
        )
        turn = torch.polar(torch.full_like(angle, magnitude), angle)
        turned = torch.view_as_real(torch.view_as_complex(pairs.contiguous()) * turn)
        return (turned.transpose(-1, -2) if m.rotates_halves else turned).flatten(-2)

    def _yarned(self, frequency: Tensor, base: float, d: int) -> tuple[Tensor, float]:
        """Stretch the slow rotations, keep the fast ones (arXiv 2309.00071, sections 3.2, 3.4)."""
        factor, context = self.model.yarn
        if not context:
            return frequency, self.model.magnitude
        first, last = (
            d / 2 * math.log(context / (turns * 2 * math.pi)) / math.log(base) for turns in (32, 1)
        )
        first, last = max(math.floor(first), 0), min(math.ceil(last), d - 1)
        scaled = []
        for i, value in enumerate(frequency.tolist()):
            stretched = min(max((i - first) / (last - first), 0.0), 1.0)
            scaled.append(value * (stretched / factor + 1 - stretched))
        return torch.tensor(scaled), self.model.magnitude * (1 + 0.1 * math.log(factor))

    def _attention(self, h: Tensor, layer: int) -> Tensor:
        m, p, length = self.model, f"blk.{layer}.", len(h)
        if m.is_fused:
            sizes = [m.heads * m.d, m.kv_heads * m.d, m.kv_heads * m.d]
            qkv = self._linear(h, p + "attn_qkv").split(sizes, dim=-1)
        else:
            qkv = tuple(self._linear(h, f"{p}attn_{n}") for n in "qkv")
        q, k, v = (t.view(length, -1, m.d).transpose(0, 1) for t in qkv)
        if m.has_head_norms:
            q, k = self._norm(q, p + "attn_q_norm"), self._norm(k, p + "attn_k_norm")
        q, k = self._rotate(q, layer), self._rotate(k, layer)
        k, v = (t.repeat_interleave(m.heads // m.kv_heads, 0) for t in (k, v))
        scores = q @ k.transpose(1, 2) * (m.attention_scale or 1 / math.sqrt(m.d))
        if m.attention_cap:
            scores = m.attention_cap * torch.tanh(scores / m.attention_cap)
        distance = torch.arange(length)[:, None] - torch.arange(length)
        hidden = distance < 0
        if m.windows and m.windows[layer]:
            hidden = hidden | (distance >= m.windows[layer])
        attended = scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v
        return self._linear(attended.transpose(0, 1).flatten(1), p + "attn_output")

    def _feed_forward(self, h: Tensor, layer: int) -> Tensor:
        p = f"blk.{layer}."
        if self.model.is_fused:
            gate, up = self._linear(h, p + "ffn_up").chunk(2, dim=-1)
        else:
            gate, up = (self._linear(h, f"{p}ffn_{n}") for n in ("gate", "up"))
        functional = torch.nn.functional
        is_gelu = self.model.is_gelu
        active = functional.gelu(gate, approximate="tanh") if is_gelu else functional.silu(gate)
        return self._linear(active * up, p + "ffn_down")

    def logits(self, ids: Sequence[int]) -> Tensor:
        m = self.model
        x = m.embedding_scale * self.w["token_embd.weight"][list(ids)]
        for layer in range(m.layers):
            p = f"blk.{layer}."
            branch = self._attention(self._norm(x, p + "attn_norm"), layer)
            if m.has_post_norms:
                branch = self._norm(branch, p + "post_attention_norm")
            x = x + m.residual_scale * branch
            branch = self._feed_forward(self._norm(x, p + "ffn_norm"), layer)
            if m.has_post_norms:
                branch = self._norm(branch, p + "post_ffw_norm")
            x = x + m.residual_scale * branch
        head = self.w.get("output.weight", self.w["token_embd.weight"])
        logits = self._norm(x, "output_norm") @ head.T / m.logit_divisor
        return m.logit_cap * torch.tanh(logits / m.logit_cap) if m.logit_cap else logits

    def loss_sum(self, sequences: Sequence[TokenizedExample]) -> Tensor:
        total = torch.zeros(())
        for s in sequences:
            log_p = self.logits(s.ids).log_softmax(-1)
            for i, bit in enumerate(s.mask):
                if bit:
                    total = total - log_p[i - 1, s.ids[i]]
        return total
