"""Likeness in meaning: the cosine of text embeddings, beside that of random pairs.

Uses wordllama (optional extra ``embed``): word vectors inside its wheel, averaged over a text; no
network, no torch. It sees words of like meaning, not word order nor negation. A cosine means
nothing by itself, so the mean cosine of replies with other items' references stands beside it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fine_tuning.core.errors import DataError, MissingDependencyError
from fine_tuning.evaluation.metrics import MetricResult

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Floats = npt.NDArray[np.float64]
EXTRA = "embed"
_MODEL = "l2_supercat"


def embedding_similarity(replies: Sequence[str], references: Sequence[str]) -> MetricResult:
    """Return the mean cosine of each reply's and its reference's embedding.

    The signature holds ``baseline``, the mean cosine of replies and references of other items: a
    value near it says that replies are no nearer to their own references than to any.

    Raises:
        DataError: if there is no reply, or not one reference each.
        MissingDependencyError: if wordllama is not installed.
    """
    if not replies or len(replies) != len(references):
        raise DataError(
            f"found {len(replies)} replies and {len(references)} references, "
            "expected at least one reply and one reference each"
        )
    said, meant = _embedded(replies), _embedded(references)
    cosines = said @ meant.T
    own = np.diag(cosines)
    others = len(own) * (len(own) - 1)
    baseline = float((cosines.sum() - own.sum()) / others) if others else 0.0
    return MetricResult(
        name="embedding_similarity",
        value=float(own.mean()),
        items=tuple(float(value) for value in own),
        higher_is_better=True,
        unit="cosine",
        signature=f"wordllama:{version('wordllama')}|dim:256|baseline:{baseline:.4f}",
    )


def _embedded(texts: Sequence[str]) -> Floats:
    """Return unit vectors [texts, dimensions]; a text without words is a zero vector."""
    tokenizer, table = _model()
    encodings = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    means = [table[e.ids].mean(axis=0) if e.ids else np.zeros(table.shape[1]) for e in encodings]
    vectors = np.asarray(means, dtype=np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


@cache
def _model() -> tuple[Tokenizer, npt.NDArray[np.float32]]:
    """Read tokenizer and word vectors out of the installed wheel.

    The package's own loader looks for the tokenizer under another name and then downloads it.
    """
    found = importlib.util.find_spec("wordllama")
    if found is None or not found.submodule_search_locations:
        raise MissingDependencyError(
            "embedding_similarity needs the package wordllama, which is not installed",
            next_command=f"pip install 'fine-tuning[{EXTRA}]', or leave the metric out",
        )
    from safetensors import safe_open  # noqa: PLC0415 - of the extra
    from tokenizers import Tokenizer  # noqa: PLC0415 - as above

    folder = Path(found.submodule_search_locations[0])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizers" / f"{_MODEL}_tokenizer_config.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    with safe_open(folder / "weights" / f"{_MODEL}_256.safetensors", framework="numpy") as weights:
        table = weights.get_tensor("embedding.weight").astype(np.float32)
    return tokenizer, table
