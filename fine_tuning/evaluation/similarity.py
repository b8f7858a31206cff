"""Text similarity to a reference by the field's reference implementations: sacrebleu, rouge-score.

Neither library is allowed to fetch anything: only scoring is used, no test sets, no sentence
splitter. Each result carries the signature of how it was computed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from fine_tuning.core.errors import DataError
from fine_tuning.evaluation.metrics import MetricResult

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric as SacrebleuMetric

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL")
_STEMMED_LENGTH = 3  # rouge-score stems only words longer than this


def bleu(replies: Sequence[str], references: Sequence[str]) -> MetricResult:
    """Corpus BLEU as sacrebleu's command line prints it; items are sentence BLEU.

    Source: Post, A Call for Clarity in Reporting BLEU Scores, 2018.

    Raises:
        DataError: if there is no reply, or not one reference each.
    """
    from sacrebleu.metrics.bleu import BLEU  # noqa: PLC0415 - slow to import, and seldom needed

    _check(replies, references)
    # force: replies that look tokenised are scored as they are, without a warning.
    corpus, sentence = BLEU(force=True), BLEU(force=True, effective_order=True)
    return _scored("bleu", corpus, sentence, replies, references)


def chrf(replies: Sequence[str], references: Sequence[str]) -> MetricResult:
    """Corpus chrF2 as sacrebleu's command line prints it; items are sentence chrF2.

    Source: Popovic, chrF: character n-gram F-score for automatic MT evaluation, 2015.

    Raises:
        DataError: if there is no reply, or not one reference each.
    """
    from sacrebleu.metrics.chrf import CHRF  # noqa: PLC0415 - slow to import, and seldom needed

    _check(replies, references)
    metric = CHRF()
    return _scored("chrf", metric, metric, replies, references)


def _scored(
    name: str,
    corpus: SacrebleuMetric,
    sentence: SacrebleuMetric,
    replies: Sequence[str],
    references: Sequence[str],
) -> MetricResult:
    """Score all replies as one text, and each alone."""
    value = corpus.corpus_score(list(replies), [list(references)]).score
    signature = str(corpus.get_signature())  # of the corpus' score: it counts the references
    return MetricResult(
        name=name,
        value=value,
        items=tuple(
            sentence.sentence_score(reply, [reference]).score
            for reply, reference in zip(replies, references, strict=True)
        ),
        higher_is_better=True,
        unit="0-100",
        aggregation="corpus",
        signature=signature,
    )


def rouge(replies: Sequence[str], references: Sequence[str]) -> tuple[MetricResult, ...]:
    """ROUGE-1, ROUGE-2 and ROUGE-L F-measures with Porter stemming, as rouge-score computes them.

    Words are runs of letters and digits of any script. rouge-score's own tokenizer drops every
    letter outside a-z; on ASCII text the two are the same.

    Source: Lin, ROUGE: A Package for Automatic Evaluation of Summaries, 2004.

    Raises:
        DataError: if there is no reply, or not one reference each.
    """
    # Imported here: nltk behind it takes most of a second.
    from rouge_score.rouge_scorer import RougeScorer  # noqa: PLC0415

    _check(replies, references)
    scorer = RougeScorer(ROUGE_TYPES, tokenizer=WordTokenizer())
    scores = [
        scorer.score(reference, reply) for reply, reference in zip(replies, references, strict=True)
    ]
    signature = f"measure:f|stemmer:porter|tok:words|version:{version('rouge-score')}"
    results = []
    for kind in ROUGE_TYPES:
        items = tuple(float(score[kind].fmeasure) for score in scores)
        results.append(
            MetricResult(
                name=kind,
                value=math.fsum(items) / len(items),
                items=items,
                higher_is_better=True,
                unit="0-1",
                signature=signature,
            )
        )
    return tuple(results)


class WordTokenizer:
    """rouge-score's tokenizer with stemming, for letters of any script."""

    def __init__(self) -> None:
        from nltk.stem.porter import PorterStemmer  # noqa: PLC0415 - slow, as above

        self._stem: Callable[[str], str] = PorterStemmer().stem

    def tokenize(self, text: str) -> list[str]:
        """Return the words in lower case, those longer than three letters stemmed."""
        words = re.findall(r"[^\W_]+", text.lower())
        return [self._stem(word) if len(word) > _STEMMED_LENGTH else word for word in words]


def _check(replies: Sequence[str], references: Sequence[str]) -> None:
    if not replies or len(replies) != len(references):
        raise DataError(
            f"found {len(replies)} replies and {len(references)} references, "
            "expected at least one reply and one reference each"
        )
