"""Whether what is tested was trained on: by the text of exchanges, not by ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fine_tuning.core.finding import Finding
from fine_tuning.data_preparation.reply_keys import exchange_texts
from fine_tuning.data_preparation.snapshot import SPLITS, Record

SplitRecords = Mapping[str, Sequence[Record]]

SIMILARITY = 0.7
"""The least share of three-word runs by which exchanges of one cluster are near duplicates."""
RUN_WORDS = 3
_SHOWN = 5


@dataclass(slots=True)
class _Exchanges:
    """Texts of exchanges with the conversations they stand in."""

    items: list[tuple[str, str]] = field(default_factory=list)

    def by_cluster(self, cluster_of: Callable[[str], str]) -> dict[str, list[tuple[str, str]]]:
        found: dict[str, list[tuple[str, str]]] = {}
        for name, text in self.items:
            found.setdefault(cluster_of(name), []).append((name, text))
        return found


def leakage(records: SplitRecords, cluster_of: Callable[[str], str]) -> Finding:
    """Tell how many held-out exchanges stand in training by their text, or nearly.

    Args:
        records: The sequences of each split.
        cluster_of: The cluster of a conversation id; near duplicates are looked for in it.
    """
    first, *others = SPLITS
    train = _Exchanges(list(_said(records[first], is_trained=False)))
    held = _Exchanges([one for name in others for one in _said(records[name], is_trained=True)])
    known = {text for _, text in train.items}
    leaked = [(name, text) for name, text in held.items if text in known]
    near = list(_near(train, held, known, cluster_of))
    count = len(held.items)
    numbers = {"held_out": count, "in_train": len(leaked), "nearly_in_train": len(near)}
    if not leaked and not near:
        return Finding(
            check="leakage",
            severity="good",
            title=f"none of {count} held-out exchanges stands in training, and none has a near "
            "duplicate there",
            numbers=numbers,
        )
    what = f"{len(leaked)} of {count} held-out exchanges stand in training word for word"
    nearly = f"{len(near)} of {count} held-out exchanges have a near duplicate in training"
    return Finding(
        check="leakage",
        severity="stop" if leaked else "warning",
        title="; ".join([*([what] if leaked else []), *([nearly] if near else [])]),
        detail="what is tested was trained on, so every measure would flatter",
        fix="prepare the data set again with 'fine-tuning prepare'",
        numbers=numbers,
        examples=tuple(dict.fromkeys([*(name for name, _ in leaked), *near]))[:_SHOWN],
    )


def _said(records: Sequence[Record], *, is_trained: bool) -> Iterator[tuple[str, str]]:
    """Yield conversation and text of every exchange in some sequences, or of those trained on."""
    seen: set[tuple[str, str]] = set()
    for record in records:
        name, example = record.example.conversation_id, record.example
        if (name, record.tokenized.example_id) in seen:
            continue
        seen.add((name, record.tokenized.example_id))
        targets = set(example.targets)
        for one in exchange_texts(example.messages):
            if not is_trained or one.place in targets:
                yield name, "\n".join((one.asked, one.said, one.calls))


def _near(
    train: _Exchanges,
    held: _Exchanges,
    known: set[str],
    cluster_of: Callable[[str], str],
) -> Iterator[str]:
    """Yield the conversation of each held-out exchange with a near duplicate in its cluster."""
    tested = held.by_cluster(cluster_of)
    trained = train.by_cluster(cluster_of) if tested else {}
    for cluster in sorted(tested.keys() & trained.keys()):
        runs = [_runs(text) for _, text in trained[cluster]]
        for name, text in tested[cluster]:
            own = _runs(text)
            if text not in known and any(_is_near(own, other) for other in runs):
                yield name


def _runs(text: str) -> frozenset[tuple[str, ...]]:
    """Return the runs of three words in a text; of letters where there are few words."""
    words = text.split()
    if len(words) <= 2 * RUN_WORDS:
        words = list("".join(words))
    return frozenset(zip(*(words[start:] for start in range(RUN_WORDS)), strict=False))


def _is_near(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> bool:
    shared = len(one & other)
    return shared > 0 and shared >= SIMILARITY * (len(one) + len(other) - shared)
