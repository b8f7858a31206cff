"""Conversations to a data set: examples, tokens, three splits, one folder named by its content.

Which split a conversation belongs to is drawn from its id (or its cluster's name) and the seed
alone, so neither new conversations nor further turns of an old one ever move it. Nothing
disappears: conversations given = kept + dropped by reason, and the manifest says so.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fine_tuning.core.conversation import Conversation, ConversationLike
from fine_tuning.core.errors import ConfigError, DataError
from fine_tuning.core.formats import as_conversations
from fine_tuning.core.naming import canonical_json, unit_interval
from fine_tuning.core.ports import Progress, PromptRenderer, Tokenizer
from fine_tuning.data_preparation.formatter import Drop, examples_from
from fine_tuning.data_preparation.manifest import DatasetFacts, SplitCounts
from fine_tuning.data_preparation.masking import DEFAULT_MAX_LENGTH, WINDOWS, ExampleTokenizer
from fine_tuning.data_preparation.snapshot import (
    SPLITS,
    Record,
    Snapshot,
    SnapshotDataset,
    load_snapshot,
    write_snapshot,
)

__all__ = [
    "DatasetBuilder",
    "Ratios",
    "Snapshot",
    "SnapshotDataset",
    "load_snapshot",
    "name_clusters",
    "own_cluster",
    "split_clusters",
]

logger = logging.getLogger(__name__)

RECOMMENDED_PAIRS = 100
MIN_CONVERSATIONS_FOR_ALL_SPLITS = 10
_RATIO_TOLERANCE = 1e-6  # 0.8 + 0.1 + 0.1 misses 1 by units in the last place

GIVEN_TWICE = "given twice"
NOT_JSON = "holds values or text JSON cannot express"

COLLECT_MORE = (
    "enable conversation logging and chat with the bot, "
    f"or import conversations (recommended: {RECOMMENDED_PAIRS}+ high-quality pairs)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratios:
    """The share of conversations each split gets; the three add up to 1.

    Raises:
        ConfigError: on construction, if a share is out of range or they do not add up to 1.
    """

    train: float = 0.8
    validation: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        """Refuse shares that leave data over, use it twice, or leave nothing to learn from."""
        shares = (self.train, self.validation, self.test)
        written = " + ".join(f"{share:g}" for share in shares)
        if not all(0 <= share <= 1 for share in shares) or self.train == 0:
            raise ConfigError(
                f"the ratios are {written}, expected each from 0 to 1 and train above 0"
            )
        if not math.isclose(sum(shares), 1, abs_tol=_RATIO_TOLERANCE):
            raise ConfigError(f"the ratios {written} add up to {sum(shares):g}, expected 1")

    def of(self, split: str) -> float:
        """Return the share of a split."""
        return float(getattr(self, split))

    def interval(self, split: str) -> tuple[float, float]:
        """Return the part of [0, 1) whose draws belong to a split; the last ends at 1."""
        start = sum(self.of(name) for name in SPLITS[: SPLITS.index(split)])
        return start, 1.0 if split == SPLITS[-1] else start + self.of(split)


def own_cluster(conversation: Conversation) -> str:
    """Return the default cluster, a conversation's id: it stays when the conversation grows."""
    return conversation.id


def name_clusters(
    conversations: Sequence[Conversation], cluster_of: Callable[[Conversation], str]
) -> list[str]:
    """Return the cluster of each conversation; exact copies share that of the oldest of them."""
    oldest: dict[str, Conversation] = {}
    for conversation in conversations:
        key = conversation.content_id
        oldest[key] = min(oldest.get(key, conversation), conversation, key=_age)
    return [cluster_of(oldest[conversation.content_id]) for conversation in conversations]


def _age(conversation: Conversation) -> tuple[bool, str, str]:
    """Sort by time, those without one last, then by id."""
    return not conversation.created_at, conversation.created_at, conversation.id


@dataclass(slots=True)
class _Collected:
    """What tokenising gave, and what it did not."""

    kept: list[Conversation] = field(default_factory=list)
    records: dict[int, list[Record]] = field(default_factory=dict)
    dropped: list[Drop] = field(default_factory=list)
    lost_replies: Counter[str] = field(default_factory=Counter)
    num_cut: int = 0


class DatasetBuilder:
    """Builds the data sets of one model.

    Args:
        tokenizer: The tokenizer of the model that will serve.
        renderer: Its chat template.
        max_length: The longest sequence, in tokens.
        ratios: The share of each split.
        seed: Another seed draws other splits.
        base_model: What identifies the model ("name", "digest"); kept in the manifest.
        cluster_of: Names what must stay in one split, such as near-duplicates; exact copies
            always do.
        train_on: Which replies are learnt; see ``formatter.POLICIES``.
        rated_up: (conversation id, message id) of the replies a person liked.
        truncation: See ``masking.TRUNCATIONS``.

    Raises:
        ConfigError: if ``max_length`` is below 2, or a policy is unknown.
    """

    def __init__(  # noqa: PLR0913 - the settings of a data set, all but two optional
        self,
        tokenizer: Tokenizer,
        renderer: PromptRenderer,
        *,
        max_length: int = DEFAULT_MAX_LENGTH,
        ratios: Ratios | None = None,
        seed: int = 0,
        base_model: Mapping[str, str] | None = None,
        cluster_of: Callable[[Conversation], str] = own_cluster,
        train_on: str = "weighted",
        rated_up: Collection[tuple[str, str]] = (),
        truncation: str = WINDOWS,
    ) -> None:
        self.ratios = ratios or Ratios()
        self.seed = seed
        self.base_model = dict(base_model or {})
        self._cluster_of = cluster_of
        self._train_on = train_on
        self._rated_up = frozenset(rated_up)
        self._examples = ExampleTokenizer(
            tokenizer, renderer, max_length=max_length, truncation=truncation
        )

    @property
    def recipe(self) -> ExampleTokenizer:
        """What turns examples into ids and masks."""
        return self._examples

    def build(
        self,
        conversations: Iterable[ConversationLike],
        datasets: Path,
        *,
        progress: Progress | None = None,
    ) -> Snapshot:
        """Write the data set of some conversations, unless the same one is there already.

        Args:
            conversations: Anything ``TrainingDataFormatter`` accepts, in any order.
            datasets: The folder of all data sets; the new one is ``b2-<32 hex>`` in it.
            progress: Called after each conversation.

        Returns:
            The data set, with remarks when the data is too small.

        Raises:
            DataError: "No conversations to train on", if none is given or all are dropped.
            StorageError: if the data set cannot be written.
        """
        given = as_conversations(conversations)
        collected = self._collect(given, progress)
        if not collected.kept:
            raise _nothing_to_train_on(len(given), collected.dropped)
        clusters = name_clusters(collected.kept, self._cluster_of)
        placed, borrowed = split_clusters(clusters, self.ratios, seed=self.seed)
        indices = {
            split: [i for i, cluster in enumerate(clusters) if placed[cluster] == split]
            for split in SPLITS
        }
        splits = {
            split: [record for i in own for record in collected.records[i]]
            for split, own in indices.items()
        }
        counts = {
            split: count_split(splits[split], [collected.kept[i].id for i in own])
            for split, own in indices.items()
        }
        num_pairs = sum(count["replies"] for count in counts.values())
        facts: DatasetFacts = {
            **self._facts(given, collected),
            "splits": counts,
            "borrowed_clusters": borrowed,
            "remarks": _remarks(num_pairs, counts, self.ratios),
        }
        for remark in facts["remarks"]:
            logger.warning("%s", remark)
        return write_snapshot(datasets, splits, facts)

    def _collect(self, given: Sequence[Conversation], progress: Progress | None) -> _Collected:
        """Tokenise conversations in the order of their content; each is kept or dropped."""
        done = _Collected()
        for number, conversation in enumerate(_in_order(given, done.dropped), start=1):
            found = examples_from([conversation], train_on=self._train_on, rated_up=self._rated_up)
            records: list[Record] = []
            drops = list(found.drops)
            for example in found:
                tokenized = self._examples.tokenize(example)
                drops += tokenized.drops
                done.num_cut += tokenized.num_cut
                records += [
                    Record(example=part, tokenized=sequence)
                    for part, sequence in zip(tokenized.examples, tokenized.sequences, strict=True)
                ]
            if records:
                done.records[len(done.kept)] = records
                done.kept.append(conversation)
                for drop in drops:
                    done.lost_replies[drop.reason] += drop.num_targets
            else:
                done.dropped.append(drops[0])
            if progress:
                progress("tokenizing", number, len(given))
        return done

    def _facts(self, given: Sequence[Conversation], collected: _Collected) -> DatasetFacts:
        """Return what the manifest says about how the data set came to be."""
        return {
            "base_model": self.base_model,
            "tokenizer": self._examples.tokenizer.fingerprint,
            "renderer": self._examples.renderer.fingerprint,
            "settings": {
                "max_length": self._examples.max_length,
                "ratios": {split: self.ratios.of(split) for split in SPLITS},
                "seed": self.seed,
                "train_on": self._train_on,
                "truncation": self._examples.truncation,
            },
            "conversations": {
                "given": len(given),
                "kept": len(collected.kept),
                "dropped": dict(Counter(drop.reason for drop in collected.dropped)),
            },
            "dropped_conversations": sorted(
                [drop.conversation_id, drop.reason] for drop in collected.dropped
            ),
            "lost_replies": dict(collected.lost_replies),
            "cut_replies": collected.num_cut,
        }


def split_clusters(
    clusters: Iterable[str], ratios: Ratios, *, seed: int = 0
) -> tuple[dict[str, str], dict[str, str]]:
    """Draw the split of each cluster from its name and the seed alone.

    One rule bends that law, for small data only: with ten conversations or more, a validation or
    test split with a share above 0 that would be empty borrows the cluster whose draw lies nearest
    to its interval from the split that holds it, if that keeps another one. So does an empty train
    split, with any number of conversations. A borrowed cluster goes home when later data gives the
    split one of its own; no other cluster ever moves.

    Args:
        clusters: The cluster of each conversation.
        ratios: The share of each split.
        seed: Salts the draw.

    Returns:
        The split of each cluster, and those borrowed with the split their draw had named.
    """
    members = list(clusters)
    draws = {cluster: unit_interval(cluster, salt=str(seed)) for cluster in sorted(set(members))}
    drawn = {cluster: _split_of(draw, ratios) for cluster, draw in draws.items()}
    placed = dict(drawn)
    wanting = ["train"]
    if len(members) >= MIN_CONVERSATIONS_FOR_ALL_SPLITS:
        wanting += ["validation", "test"]
    for split in wanting:
        sizes = Counter(placed.values())
        if sizes[split] or not ratios.of(split):
            continue
        keep = 0 if split == "train" else 1
        lenders = [cluster for cluster, holder in placed.items() if sizes[holder] > keep]
        if lenders:
            low, high = ratios.interval(split)
            nearest = min(lenders, key=lambda c: max(low - draws[c], draws[c] - high))
            placed[nearest] = split
    return placed, {c: drawn[c] for c in placed if placed[c] != drawn[c]}


def _split_of(draw: float, ratios: Ratios) -> str:
    for split in SPLITS:
        low, high = ratios.interval(split)
        if low <= draw < high:
            return split
    return SPLITS[-1]


def _in_order(given: Sequence[Conversation], dropped: list[Drop]) -> list[Conversation]:
    """Sort by content, so that the order of collection is no part of the data set's name."""
    named: dict[tuple[str, str], Conversation] = {}
    for conversation in given:
        try:
            canonical_json(conversation.to_dict()).encode()  # the form it is written in
            key = (conversation.content_id, conversation.id)
        except DataError as error:
            drop = Drop(
                conversation_id=conversation.id, reason="damaged tree", detail=error.message
            )
            dropped.append(drop)
            continue
        except (TypeError, ValueError) as error:
            dropped.append(
                Drop(conversation_id=conversation.id, reason=NOT_JSON, detail=str(error))
            )
            continue
        if key in named:
            dropped.append(Drop(conversation_id=conversation.id, reason=GIVEN_TWICE))
        named.setdefault(key, conversation)
    return [named[key] for key in sorted(named)]


def count_split(records: Sequence[Record], conversation_ids: Sequence[str]) -> SplitCounts:
    """Return the counts of one split; a reply is a run of learnt tokens."""
    masks = [record.tokenized.mask for record in records]
    return {
        "conversations": len(conversation_ids),
        "sequences": len(records),
        "replies": sum(_num_runs(mask) for mask in masks),
        "tokens": sum(map(len, masks)),
        "trained_tokens": sum(map(sum, masks)),
        "conversation_ids": list(conversation_ids),
    }


def _num_runs(mask: Sequence[int]) -> int:
    return sum(bit and not before for before, bit in zip((0, *mask), mask, strict=False))


def _remarks(num_pairs: int, counts: Mapping[str, SplitCounts], ratios: Ratios) -> list[str]:
    """Return what a person should know before training on this data."""
    remarks: list[str] = []
    if num_pairs < RECOMMENDED_PAIRS:
        remarks.append(
            f"Training data too small: {num_pairs} question-answer pairs; collect more "
            f"conversations (recommended: {RECOMMENDED_PAIRS}+ high-quality pairs)"
        )
    empty = [split for split in SPLITS if ratios.of(split) and not counts[split]["conversations"]]
    if empty:
        remarks.append(
            f"The {' and '.join(empty)} split holds no conversation, so nothing can be measured "
            f"on it; {MIN_CONVERSATIONS_FOR_ALL_SPLITS} different conversations fill every split"
        )
    return remarks


def _nothing_to_train_on(num_given: int, dropped: Sequence[Drop]) -> DataError:
    if not num_given:
        return DataError("No conversations to train on: none were given", next_command=COLLECT_MORE)
    reasons = Counter(drop.reason for drop in dropped).most_common()
    listed = ", ".join(f"{count} {reason}" for reason, count in reasons)
    return DataError(
        f"No conversations to train on: all {num_given} were dropped ({listed})",
        next_command=COLLECT_MORE,
    )
