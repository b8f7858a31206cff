"""Conversations as sequences, with an account of their replies: given = trained on + lost.

A conversation is tokenised once, and again when some of its replies must not be trained on where
it was placed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.example import Example
from fine_tuning.data_preparation.formatter import Drop, examples_from
from fine_tuning.data_preparation.manifest import ReplyCounts
from fine_tuning.data_preparation.masking import ExampleTokenizer
from fine_tuning.data_preparation.reply_keys import reply_keys
from fine_tuning.data_preparation.snapshot import Record

IN_TRAIN = "stands in train"
"""Why a reply is no target of a held-out split: its exchange is one of the train split's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizedConversation:
    """What became of a conversation: its sequences, and the replies that are in none of them.

    ``num_given`` counts the replies it was to be trained on, ``num_cut`` those that only fit in
    part.
    """

    conversation: Conversation
    num_given: int
    examples: tuple[Example, ...] = ()
    records: tuple[Record, ...] = ()
    drops: tuple[Drop, ...] = ()
    num_cut: int = 0

    @property
    def lost(self) -> Counter[str]:
        """The replies that are not trained on, by reason."""
        lost: Counter[str] = Counter()
        for drop in self.drops:
            if drop.num_targets:
                lost[drop.reason] += drop.num_targets
        return lost

    @property
    def keys(self) -> set[bytes]:
        """The texts of all exchanges in it, those that are only context too."""
        return {reply.key for one in self.examples for reply in reply_keys(one.messages)}


@dataclass(slots=True)
class Collected:
    """What tokenising gave, and what it did not."""

    kept: list[TokenizedConversation] = field(default_factory=list)
    left_out: list[TokenizedConversation] = field(default_factory=list)
    dropped: list[Drop] = field(default_factory=list)

    def add(self, found: TokenizedConversation) -> None:
        """Keep a conversation with anything to train on; drop another for its first reason."""
        if found.records:
            self.kept.append(found)
        else:
            self.left_out.append(found)
            self.dropped.append(found.drops[0])

    @property
    def lost_replies(self) -> Counter[str]:
        """The replies that are not trained on, by reason, those of dropped conversations too."""
        return sum((one.lost for one in (*self.kept, *self.left_out)), Counter())

    @property
    def num_cut(self) -> int:
        """How many replies are trained on up to the longest sequence only."""
        return sum(one.num_cut for one in self.kept)

    @property
    def replies(self) -> ReplyCounts:
        """How many replies were given and kept; the rest is in :attr:`lost_replies`."""
        given = sum(one.num_given for one in (*self.kept, *self.left_out))
        return {"given": given, "kept": given - self.lost_replies.total()}


def tokenize_conversation(
    conversation: Conversation,
    recipe: ExampleTokenizer,
    *,
    sessions_of: Callable[[Conversation], Iterable[Conversation]],
    train_on: str,
    rated_up: Collection[tuple[str, str]],
) -> TokenizedConversation:
    """Return the sequences of a conversation.

    Args:
        conversation: What to tokenise.
        recipe: The tokeniser of examples.
        sessions_of: Cuts it into what belongs together; each part keeps the conversation's id.
        train_on: See ``formatter.POLICIES``.
        rated_up: (conversation id, message id) of the replies a person liked.

    Raises:
        DataError: if the template leaves replies out, or ends them with nothing a model could say.
    """
    found = examples_from([conversation], train_on=train_on, rated_up=rated_up)
    if found.examples and len(parts := list(sessions_of(conversation))) > 1:
        found = examples_from(parts, train_on=train_on, rated_up=rated_up)
        found = replace(found, drops=())  # a part without replies loses none
    return _tokenized(conversation, found.examples, recipe, found.drops)


def without_known(
    given: TokenizedConversation, known: Collection[bytes], recipe: ExampleTokenizer
) -> TokenizedConversation:
    """Return a held-out conversation without the targets whose exchange stands in train.

    Args:
        given: The conversation; returned as it is if it holds no such target.
        known: The keys of the exchanges in train.
        recipe: What tokenised it.
    """
    examples: list[Example] = []
    drops: list[Drop] = []
    for example in given.examples:
        in_train = {reply.place for reply in reply_keys(example.messages) if reply.key in known}
        targets = tuple(place for place in example.targets if place not in in_train)
        if lost := len(example.targets) - len(targets):
            name = example.conversation_id
            drops.append(Drop(conversation_id=name, reason=IN_TRAIN, num_targets=lost))
        if targets:
            messages = example.messages[: targets[-1] + 1]
            examples.append(replace(example, messages=messages, targets=targets))
    if not drops:
        return given
    found = _tokenized(given.conversation, examples, recipe, drops)
    return replace(found, num_given=given.num_given)


def _tokenized(
    conversation: Conversation,
    examples: Sequence[Example],
    recipe: ExampleTokenizer,
    drops: Iterable[Drop],
) -> TokenizedConversation:
    all_drops, records, num_cut = list(drops), list[Record](), 0
    for example in examples:
        tokenized = recipe.tokenize(example)
        all_drops += tokenized.drops
        num_cut += tokenized.num_cut
        records += [
            Record(example=part, tokenized=sequence)
            for part, sequence in zip(tokenized.examples, tokenized.sequences, strict=True)
        ]
    return TokenizedConversation(
        conversation=conversation,
        num_given=sum(len(example.targets) for example in examples),
        examples=tuple(examples),
        records=tuple(records),
        drops=tuple(all_drops),
        num_cut=num_cut,
    )
