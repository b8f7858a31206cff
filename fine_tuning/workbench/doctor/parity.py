"""Does training compute what serving computes? The engine against llama.cpp, token by token.

Expect agreement, not equality: llama.cpp quantises activations to 8 bits, which alone moves
log-probabilities by about 0.1 on a small 4-bit model.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean as mean
from typing import Any

from fine_tuning.core.errors import DataError
from fine_tuning.core.ports import Progress
from fine_tuning.engine.adapter_files import read_gguf_adapter
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.kl_divergence import agreement
from fine_tuning.runtimes.embedded import EmbeddedServer

MAX_MEAN_KL = 0.02
MIN_TOP1_AGREEMENT = 0.95
MIN_POSITIONS = 200
# What lies beyond the likeliest tokens is compared as one lump, which can only understate KL; with
# this many the lump holds a few thousandths of the probability.
TOP_TOKENS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityReport:
    """How far two computations of one model differ, over the positions of one text.

    ``mean_kl`` and ``max_kl`` are in nats, from llama.cpp's distribution to the engine's.
    """

    name: str
    num_positions: int
    mean_kl: float
    max_kl: float
    top1_agreement: float
    dtype: str

    @property
    def holds(self) -> bool:
        """Whether the differences are those of rounding."""
        return (
            self.mean_kl < MAX_MEAN_KL
            and self.top1_agreement >= MIN_TOP1_AGREEMENT
            and self.num_positions >= MIN_POSITIONS
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "holds": self.holds}


def check_parity(  # noqa: PLR0913 - a model, a text, and four options
    model_path: Path,
    text: str,
    *,
    name: str,
    adapter_path: Path | None = None,
    num_positions: int = 256,
    threads: int | None = None,
    progress: Progress | None = None,
) -> ParityReport:
    """Return how two programs' next-token distributions agree over a text's first tokens.

    Args:
        model_path: A GGUF model.
        text: Real text of at least ``num_positions`` tokens.
        name: What the report calls the model.
        adapter_path: A GGUF adapter both sides apply.
        num_positions: How many tokens to compare.
        threads: llama.cpp's threads; None takes its choice.
        progress: Told after each position.

    Raises:
        DataError: if the text is too short.
        FineTuningError: as the engine and the embedded runtime raise.
    """
    with EmbeddedServer(
        model_path, adapter=adapter_path, context_tokens=num_positions + 16, threads=threads
    ) as server:
        ids = server.tokenizer.encode(text, add_special=True, parse_special=False)[:num_positions]
        if len(ids) < num_positions:
            raise DataError(f"the text has {len(ids)} tokens, expected at least {num_positions}")
        served = []
        for end in range(1, len(ids) + 1):
            served.append(server.next_token_log_probabilities(ids[:end], TOP_TOKENS))
            if progress:
                progress(f"comparing {name}", end, len(ids))
    adapter = read_gguf_adapter(adapter_path) if adapter_path else None
    with Decoder.open(model_path) as decoder:
        positions = agreement(decoder, adapter, ids, served)
        dtype = str(decoder.dtype).removeprefix("torch.")
    return ParityReport(
        name=name,
        num_positions=len(ids),
        mean_kl=mean(position.kl for position in positions),
        max_kl=max(position.kl for position in positions),
        top1_agreement=mean(position.same_top for position in positions),
        dtype=dtype,
    )
