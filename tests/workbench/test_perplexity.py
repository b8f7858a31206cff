"""Perplexity of the engine is that of llama.cpp, over the same tokens and 16-bit weights."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from fine_tuning.core.example import TokenizedExample
from fine_tuning.engine.decoder import Decoder
from fine_tuning.engine.step import score_targets
from fine_tuning.evaluation.metrics import perplexity
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import TensorType
from fine_tuning.gguf.writer import TensorSource, tensor_from_file, write_gguf
from fine_tuning.runtimes.base_model import resolve_base_model
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.workbench.doctor.diagnostics import PARITY_TEXT

POSITIONS = 200
TOP_TOKENS = 8192


def write_in_16_bits(source: Path, target: Path) -> None:
    """Write the embedded model with every packed weight as F16."""
    with GgufFile.open(source) as file:
        tensors = [
            tensor_from_file(file, name)
            if info.type in (TensorType.F32, TensorType.F16)
            else TensorSource(
                name, info.shape, TensorType.F16, file.dequantize(name).astype(np.float16)
            )
            for name, info in file.tensors.items()
        ]
        write_gguf(target, file.typed_metadata, tensors)


@pytest.mark.slow
def test_perplexity_is_within_one_per_cent_of_llama_cpps(tmp_path: Path) -> None:
    model = tmp_path / "f16.gguf"
    write_in_16_bits(resolve_base_model("embedded").path, model)
    text = PARITY_TEXT.read_text(encoding="utf-8")
    theirs, places = [], []
    with EmbeddedServer(model, context_tokens=POSITIONS + 16, threads=1) as server:
        ids = server.tokenizer.encode(text, add_special=True, parse_special=False)[:POSITIONS]
        for place in range(1, len(ids)):
            found = dict(server.next_token_log_probabilities(ids[:place], TOP_TOKENS))
            if ids[place] in found:
                theirs.append(found[ids[place]])
                places.append(place)
    assert len(places) >= 0.98 * (POSITIONS - 1)
    mask = tuple(int(place in places) for place in range(len(ids)))
    example = TokenizedExample(example_id="text", conversation_id="c", ids=tuple(ids), mask=mask)
    with Decoder.open(model) as decoder:
        (score,) = score_targets(decoder, None, [example])
    ours = perplexity([score.log_probabilities]).value
    llama = math.exp(-math.fsum(theirs) / len(theirs))
    assert ours == pytest.approx(llama, rel=0.01)
