"""The recorded conversations as rows that can be filtered at once, kept up to date cheaply.

Only conversations that changed are measured again. The rows are remembered in a file between
starts, without the conversations' words but their titles; the words are read at the first search
and stay in memory.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import DataError, StorageError
from fine_tuning.core.feedback import Feedback
from fine_tuning.core.naming import content_name
from fine_tuning.core.ports import ConversationStore, Progress
from fine_tuning.data_collection.feedback_summary import (
    HIGH_RATING,
    FeedbackSummary,
    feedback_summaries,
)
from fine_tuning.data_collection.listing import Listed, listed, searchable
from fine_tuning.storage.atomic import storage_errors
from fine_tuning.storage.json_lines import decode, lines, whole_lines

__all__ = ["Listed", "Listing", "ListingKeeper", "Order", "Rating", "Wanted"]

Rating = Literal["liked", "disliked", "edited", "unrated", "accepted", "rejected", "withheld"]
Order = Literal["newest", "oldest", "longest", "shortest", "best", "worst"]
SCHEMA = "ft-listing/1"
FEW = 64
"""Conversations up to which each is read by itself; of more, the whole log is read once."""
TOLD_EVERY = 64
_KEYS: Mapping[str, tuple[Callable[[Listed], float | str], bool]] = {
    "newest": (lambda row: row.last_at, True),
    "oldest": (lambda row: row.last_at, False),
    "longest": (lambda row: row.tokens, True),
    "shortest": (lambda row: row.tokens, False),
    "best": (lambda row: row.quality, True),
    "worst": (lambda row: row.quality, False),
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which conversations to list, and in which order; empty and None set no bound.

    ``words`` must all occur. ``since`` and ``until`` are moments, ISO 8601 in UTC, compared with
    the time of the newest message. ``ids`` are the only conversations to look at.
    """

    words: str = ""
    sources: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    ratings: tuple[Rating, ...] = ()
    least_tokens: int | None = None
    most_tokens: int | None = None
    since: str = ""
    until: str = ""
    ids: frozenset[str] | None = None
    order: Order = "newest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """All conversations as of a moment.

    ``version`` differs when a conversation or its feedback does. By conversation, ``feedback`` is
    all that was said, oldest first, and ``feedback_summaries`` what persons think.
    """

    version: str
    rows: Mapping[str, Listed]
    feedback_summaries: Mapping[str, FeedbackSummary]
    feedback: Mapping[str, Sequence[Feedback]]
    _words: Callable[[], Mapping[str, str]] = field(repr=False)

    def counts(self, name: Literal["source", "language"]) -> dict[str, int]:
        """Count the conversations by a property, most frequent first."""
        found = Counter(getattr(row, name) for row in self.rows.values())
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def ratings(self, conversation_id: str) -> set[Rating]:
        """Return what persons think of a conversation."""
        return _ratings(self.feedback_summaries.get(conversation_id))

    def find(self, wanted: Wanted) -> list[Listed]:
        """Return the conversations that are wanted, in the order that is."""
        words = wanted.words.casefold().split()
        texts = self._words() if words else {}
        found = [
            row
            for row in self.rows.values()
            if _fits(row, wanted)
            and (not wanted.ratings or self.ratings(row.id) & set(wanted.ratings))
            and all(word in texts.get(row.id, "") for word in words)
        ]
        key, is_reversed = _KEYS[wanted.order]
        return sorted(found, key=key, reverse=is_reversed)


def _fits(row: Listed, wanted: Wanted) -> bool:
    return (
        (wanted.ids is None or row.id in wanted.ids)
        and (not wanted.sources or row.source in wanted.sources)
        and (not wanted.languages or row.language in wanted.languages)
        and (wanted.least_tokens is None or row.tokens >= wanted.least_tokens)
        and (wanted.most_tokens is None or row.tokens <= wanted.most_tokens)
        and (not wanted.since or row.last_at >= wanted.since)
        and (not wanted.until or row.last_at < wanted.until)
    )


def _ratings(summary: FeedbackSummary | None) -> set[Rating]:
    if summary is None:
        return {"unrated"}
    found: set[Rating] = set()
    if summary.corrections:
        found.add("edited")
    thumbs, ratings = summary.thumbs.values(), summary.ratings.values()
    if any(value > 0 for value in thumbs) or any(value >= HIGH_RATING for value in ratings):
        found.add("liked")
    if any(value < 0 for value in thumbs) or any(value < HIGH_RATING for value in ratings):
        found.add("disliked")
    if not found:
        found.add("unrated")
    if summary.review:
        found.add("accepted" if summary.review > 0 else "rejected")
    if summary.consent < 0:
        found.add("withheld")
    return found


class ListingKeeper:
    """Keeps the listing of a store; one for all threads.

    Args:
        store: The conversations.
        file: Where the rows are remembered.
    """

    def __init__(self, store: ConversationStore, file: Path) -> None:
        self._store = store
        self._file = file
        self._mutex = threading.RLock()
        self._measured: dict[str, tuple[str, Listed]] | None = None
        self._words: dict[str, tuple[str, str]] = {}
        self._revisions: dict[str, str] = {}
        self._seen = ""
        self._current: Listing | None = None

    def listing(self, progress: Progress | None = None) -> Listing:
        """Return the conversations as they are now.

        Raises:
            StorageError: if they cannot be read.
        """
        with self._mutex:
            seen = self._store.change_token()
            if self._current is None or seen != self._seen:
                self._current, self._seen = self._look(progress), seen
            return self._current

    def _look(self, progress: Progress | None) -> Listing:
        if self._measured is None:
            self._measured = _remembered(self._file)
        known = self._measured
        self._revisions = self._store.revisions()
        missing = {n for n, rev in self._revisions.items() if known.get(n, ("",))[0] != rev}
        for conversation in self._read(missing, "reading conversations", progress):
            revision = self._revisions.get(conversation.id, "")
            known[conversation.id] = (revision, listed(conversation))
        self._measured = {n: known[n] for n in self._revisions if n in known}
        self._words = {n: self._words[n] for n in self._revisions if n in self._words}
        if len(missing) > FEW or (missing and not self._file.exists()):
            self._remember()
        said: dict[str, list[Feedback]] = {}
        for one in self._store.feedback():
            said.setdefault(one.conversation_id, []).append(one)
        ids = [[one.id for one in some] for some in said.values()]
        summaries = feedback_summaries(one for some in said.values() for one in some)
        return Listing(
            version=content_name([list(self._revisions.items()), ids]),
            rows={n: _named(row, summaries.get(n)) for n, (_, row) in self._measured.items()},
            feedback_summaries=summaries,
            feedback=said,
            _words=self._all_words,
        )

    def _read(
        self, names: set[str], what: str, progress: Progress | None
    ) -> Iterator[Conversation]:
        """Yield some conversations, one by one or in one pass, whichever is less work."""
        if len(names) <= FEW:
            yield from filter(None, map(self._store.conversation, sorted(names)))
            return
        for number, conversation in enumerate(self._store.conversations()):
            if progress and number % TOLD_EVERY == 0:
                progress(what, number, len(self._revisions))
            if conversation.id in names:
                yield conversation

    def _all_words(self) -> Mapping[str, str]:
        with self._mutex:
            revisions = self._revisions
            stale = {n for n, rev in revisions.items() if self._words.get(n, ("",))[0] != rev}
            for conversation in self._read(stale, "reading their words", None):
                revision = revisions.get(conversation.id, "")
                self._words[conversation.id] = (revision, searchable(conversation))
            return {name: words for name, (_, words) in self._words.items()}

    def _remember(self) -> None:
        try:
            with whole_lines(self._file) as write:
                write({"schema": SCHEMA})
                for revision, row in (self._measured or {}).values():
                    write({"revision": revision, **row.to_dict()})
        except StorageError as error:
            _log.warning("the list of conversations is not remembered: %s", error.message)


def _named(row: Listed, summary: FeedbackSummary | None) -> Listed:
    """Return a row under the name its conversation was given."""
    return replace(row, title=summary.title) if summary and summary.title else row


def _remembered(file: Path) -> dict[str, tuple[str, Listed]]:
    """Return the rows of a file by conversation; what cannot be read is measured again."""
    found: dict[str, tuple[str, Listed]] = {}
    try:
        with storage_errors(file), file.open("rb") as opened:
            raws = filter(None, map(decode, lines(opened)))
            if next(raws, {}).get("schema") != SCHEMA:
                return {}
            for raw in raws:
                revision = str(raw.pop("revision"))
                row = Listed.from_dict(raw)
                found[row.id] = (revision, row)
    except (StorageError, DataError, KeyError, TypeError) as error:
        _log.debug("the remembered list cannot be read: %s", error)
    return found
