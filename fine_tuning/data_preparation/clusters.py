"""Which conversations must share a split: copies, near duplicates, forks, grown chats, chunks.

Conversations are joined by what they share: the cluster that cleaning found, a group that their
source named, their whole content, a beginning, or a single exchange. What very many share is a
stock phrase, such as "hi" and its greeting, and joins nothing: the builder sees to it that its text
is not tested where it was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

from fine_tuning.core.conversation import Conversation
from fine_tuning.data_preparation.reply_keys import beginnings, reply_keys

MOST_SHARING = 8
"""An exchange, or a short beginning, that more conversations share is a stock phrase."""
MOST_FORKS = 50
"""A long beginning that more conversations share is a fixed preamble, such as examples."""
LONG_BEGINNING_CHARS = 200
LONG_BEGINNING_EXCHANGES = 2
LARGEST_SHARE = 1 / 50
"""Of all conversations: single exchanges join no cluster larger than that, or chains of stock
phrases would pull everything into one split."""


def own_cluster(conversation: Conversation) -> str:
    """Return the default cluster, a conversation's id: it stays when the conversation grows."""
    return conversation.id


def name_clusters(
    conversations: Sequence[Conversation], cluster_of: Callable[[Conversation], str]
) -> list[str]:
    """Return the cluster of each conversation, named after the oldest member.

    Args:
        conversations: Each with a sound branch.
        cluster_of: What must stay together for other reasons, such as near duplicates.
    """
    joined = _Clusters(len(conversations))
    for key_of in (cluster_of, _content, _group):
        joined.join_equal(map(key_of, conversations))
    _join_shared(joined, conversations)
    oldest: dict[int, Conversation] = {}
    roots = [joined.root(number) for number in range(len(conversations))]
    for root, conversation in zip(roots, conversations, strict=True):
        oldest[root] = min(oldest.get(root, conversation), conversation, key=_age)
    return [cluster_of(oldest[root]) for root in roots]


class _Clusters:
    """Disjoint sets of the numbers 0 to n - 1."""

    def __init__(self, count: int) -> None:
        self._above = list(range(count))
        self._sizes = [1] * count

    def root(self, number: int) -> int:
        """Return what stands for a number's set."""
        while self._above[number] != number:
            self._above[number] = self._above[self._above[number]]
            number = self._above[number]
        return number

    def join(self, members: Iterable[int], largest: int | None = None) -> None:
        """Make one set of those of some numbers, unless it would be larger than allowed."""
        roots = sorted({self.root(number) for number in members})
        size = sum(self._sizes[root] for root in roots)
        if largest is not None and size > largest:
            return
        for root in roots[1:]:
            self._above[root] = roots[0]
        self._sizes[roots[0]] = size

    def join_equal(self, keys: Iterable[Hashable]) -> None:
        """Join the numbers of equal keys; None is equal to nothing."""
        members: dict[Hashable, list[int]] = {}
        for number, key in enumerate(keys):
            if key is not None:
                members.setdefault(key, []).append(number)
        for sharing in members.values():
            self.join(sharing)


def _join_shared(joined: _Clusters, conversations: Sequence[Conversation]) -> None:
    """Join conversations that share a beginning or an exchange."""
    begun: dict[bytes, list[int]] = {}
    is_long: dict[bytes, bool] = {}
    holders: dict[bytes, list[int]] = {}
    for number, conversation in enumerate(conversations):
        keys = [reply for reply in reply_keys(conversation.path()) if reply.is_asked]
        for depth, (name, num_chars) in enumerate(beginnings(keys), start=1):
            begun.setdefault(name, []).append(number)
            is_long[name] = depth >= LONG_BEGINNING_EXCHANGES or num_chars >= LONG_BEGINNING_CHARS
        for key in {reply.key for reply in keys}:
            holders.setdefault(key, []).append(number)
    for name, members in begun.items():
        if len(members) <= (MOST_FORKS if is_long[name] else MOST_SHARING):
            joined.join(members)
    largest = max(MOST_SHARING, int(len(conversations) * LARGEST_SHARE))
    shared = [(len(found), key) for key, found in holders.items() if 1 < len(found) <= MOST_SHARING]
    for _, key in sorted(shared):  # what fewest share says most
        joined.join(holders[key], largest)


def _content(conversation: Conversation) -> str:
    return conversation.content_id


def _group(conversation: Conversation) -> tuple[str, str] | None:
    """Return the group that a conversation's source put it into; None if it named none."""
    group = conversation.metadata.get("group")
    return (conversation.source, str(group)) if group not in (None, "") else None


def _age(conversation: Conversation) -> tuple[bool, str, int, str]:
    """Sort by time, those without one last: the shorter before what it grew into, then by id."""
    length = len(conversation.messages) if not conversation.created_at else 0
    return not conversation.created_at, conversation.created_at, length, conversation.id
