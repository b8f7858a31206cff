"""Files of what people preferred, as TRL reads them: private values redacted, texts cleaned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from fine_tuning.core.exchange import to_trl_dpo, to_trl_kto
from fine_tuning.core.preference import LabelledReply, PreferencePair
from fine_tuning.data_collection.data_cleaner import DataCleaner
from fine_tuning.storage.json_lines import whole_lines


def clean_pairs(pairs: Iterable[PreferencePair], cleaner: DataCleaner) -> Iterator[PreferencePair]:
    """Yield pairs as cleaning leaves them; a placeholder stands for one value in all of a pair."""
    for pair in pairs:
        *prompt, chosen, rejected = cleaner.edited_together(
            [*pair.prompt, pair.chosen, pair.rejected]
        )
        yield replace(pair, prompt=tuple(prompt), chosen=chosen, rejected=rejected)


def clean_labels(
    labelled: Iterable[LabelledReply], cleaner: DataCleaner
) -> Iterator[LabelledReply]:
    """Yield rated replies as cleaning leaves them."""
    for label in labelled:
        *prompt, reply = cleaner.edited_together([*label.prompt, label.reply])
        yield replace(label, prompt=tuple(prompt), reply=reply)


def write_pairs(path: Path, pairs: Iterable[PreferencePair]) -> int:
    """Write pairs as TRL's DPOTrainer reads them; return how many.

    Raises:
        StorageError: if the file cannot be written; an old one there stays as it was.
    """
    return _write(path, map(to_trl_dpo, pairs))


def write_labels(path: Path, labelled: Iterable[LabelledReply]) -> int:
    """Write rated replies as TRL's KTOTrainer reads them; return how many.

    Raises:
        StorageError: if the file cannot be written; an old one there stays as it was.
    """
    return _write(path, map(to_trl_kto, labelled))


def _write(path: Path, records: Iterable[object]) -> int:
    count = 0
    with whole_lines(path) as write:
        for record in records:
            write(record)
            count += 1
    return count
