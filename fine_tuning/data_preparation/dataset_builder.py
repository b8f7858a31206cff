"""Conversations to a data set: examples, tokens, three splits, one folder named by its content.

Which split a conversation belongs to is drawn from its id (or its cluster's name) and the seed
alone, so neither new conversations nor further turns of an old one ever move it. Nothing
disappears: conversations given = kept + dropped by reason, replies given = kept + lost by reason,
and the manifest says so. No held-out reply answers what train answers the same.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from fine_tuning.core.conversation import Conversation, ConversationLike
from fine_tuning.core.errors import DataError
from fine_tuning.core.formats import as_conversations
from fine_tuning.core.naming import canonical_json
from fine_tuning.core.ports import Progress, PromptRenderer, Tokenizer
from fine_tuning.data_preparation.clusters import name_clusters, own_cluster
from fine_tuning.data_preparation.formatter import Drop
from fine_tuning.data_preparation.manifest import DatasetFacts, SplitCounts
from fine_tuning.data_preparation.masking import (
    DEFAULT_MAX_LENGTH,
    TOO_LONG,
    WINDOWS,
    ExampleTokenizer,
)
from fine_tuning.data_preparation.needed_length import needed_length
from fine_tuning.data_preparation.preparation_account import MAX_LENGTH
from fine_tuning.data_preparation.snapshot import (
    SPLITS,
    Record,
    Snapshot,
    SnapshotDataset,
    load_snapshot,
    write_snapshot,
)
from fine_tuning.data_preparation.splits import (
    MIN_CONVERSATIONS_FOR_ALL_SPLITS,
    Ratios,
    split_clusters,
)
from fine_tuning.data_preparation.tokenized_conversations import (
    Collected,
    TokenizedConversation,
    tokenize_conversation,
    without_known,
)

__all__ = [
    "MIN_CONVERSATIONS_FOR_ALL_SPLITS",
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
GIVEN_TWICE = "given twice"
NOT_JSON = "holds values or text JSON cannot express"

COLLECT_MORE = (
    "enable conversation logging and chat with the bot, "
    f"or import conversations (recommended: {RECOMMENDED_PAIRS}+ high-quality pairs)"
)


def whole_conversation(conversation: Conversation) -> list[Conversation]:
    """Return a conversation as the one session that it is by default."""
    return [conversation]


class DatasetBuilder:
    """Builds the data sets of one model.

    Args:
        tokenizer: The tokenizer of the model that will serve.
        renderer: Its chat template.
        max_length: The longest sequence, in tokens.
        ratios: The share of each split.
        seed: Another seed draws other splits.
        base_model: What identifies the model ("name", "digest"); kept in the manifest.
        cluster_of: Names what must stay in one split, such as near-duplicates; copies, forks and
            chats that share an exchange always do, see ``clusters``.
        train_on: Which replies are trained on; see ``formatter.POLICIES``.
        rated_up: (conversation id, message id) of the replies a person liked.
        truncation: See ``masking.TRUNCATIONS``.
        sessions_of: Cuts a conversation that holds several sessions; each keeps its id.

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
        sessions_of: Callable[[Conversation], Iterable[Conversation]] = whole_conversation,
    ) -> None:
        self.ratios = ratios or Ratios()
        self.seed = seed
        self.base_model = dict(base_model or {})
        self._cluster_of = cluster_of
        self._sessions_of = sessions_of
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
            needed = self._needed(collected).get("needed_length")
            raise _nothing_to_train_on(
                len(given), collected.dropped, _longer(self._examples.max_length, needed)
            )
        held, borrowed = self._placed(collected)
        splits = {
            split: [record for one in held[split] for record in one.records] for split in SPLITS
        }
        counts = {
            split: count_split(splits[split], [one.conversation.id for one in held[split]])
            for split in SPLITS
        }
        num_pairs = sum(count["replies"] for count in counts.values())
        facts: DatasetFacts = {
            **self._facts(given, collected),
            **self._needed(collected),
            "splits": counts,
            "borrowed_clusters": borrowed,
            "remarks": _remarks(num_pairs, counts, self.ratios),
        }
        for remark in facts["remarks"]:
            logger.warning("%s", remark)
        return write_snapshot(datasets, splits, facts)

    def _collect(self, given: Sequence[Conversation], progress: Progress | None) -> Collected:
        """Tokenise conversations in the order of their content; each is kept or dropped."""
        done = Collected()
        for number, conversation in enumerate(_in_order(given, done.dropped), start=1):
            found = tokenize_conversation(
                conversation,
                self._examples,
                sessions_of=self._sessions_of,
                train_on=self._train_on,
                rated_up=self._rated_up,
            )
            done.add(found)
            if progress:
                progress("tokenizing", number, len(given))
        return done

    def _placed(
        self, collected: Collected
    ) -> tuple[dict[str, list[TokenizedConversation]], dict[str, str]]:
        """Return the conversations of each split, and the clusters that were borrowed.

        No exchange whose text stands in train is a target elsewhere: what was trained on is no
        measure. A conversation without any other leaves, and ``collected`` counts it as dropped.
        """
        clusters = name_clusters([one.conversation for one in collected.kept], self._cluster_of)
        placed, borrowed = split_clusters(clusters, self.ratios, seed=self.seed)
        held: dict[str, list[TokenizedConversation]] = {split: [] for split in SPLITS}
        for one, cluster in zip(collected.kept, clusters, strict=True):
            held[placed[cluster]].append(one)
        train, *others = SPLITS
        known = {key for one in held[train] for key in one.keys}
        collected.kept = list(held[train])
        for split in others:
            num_before = len(collected.kept)
            for one in held[split]:
                collected.add(without_known(one, known, self._examples))
            held[split] = collected.kept[num_before:]
        return held, borrowed

    def _needed(self, collected: Collected) -> DatasetFacts:
        """Return the length that would keep the replies that are too long now, if any are."""
        length = needed_length((*collected.kept, *collected.left_out), self._examples)
        return {} if length is None else {"needed_length": length}

    def _facts(self, given: Sequence[Conversation], collected: Collected) -> DatasetFacts:
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
            "replies": collected.replies,
            "lost_replies": dict(collected.lost_replies),
            "cut_replies": collected.num_cut,
        }


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


def _longer(max_length: int, needed: int | None) -> str:
    """Say what helps when every conversation is longer than a sequence may be."""
    if needed is None or needed <= max_length:
        return f"raise {MAX_LENGTH} (now {max_length})"
    return f"raise {MAX_LENGTH} (now {max_length}): --set {MAX_LENGTH}={needed}"


def _nothing_to_train_on(num_given: int, dropped: Sequence[Drop], longer: str) -> DataError:
    if not num_given:
        return DataError("No conversations to train on: none were given", next_command=COLLECT_MORE)
    reasons = Counter(drop.reason for drop in dropped).most_common()
    listed = ", ".join(f"{count} {reason}" for reason, count in reasons)
    return DataError(
        f"No conversations to train on: all {num_given} were dropped ({listed})",
        next_command=longer if reasons[0][0] == TOO_LONG else COLLECT_MORE,
    )
