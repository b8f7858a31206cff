"""Looking through the recorded conversations: lists, what cleaning made of each, and why.

A cleaning of everything takes seconds, so its outcome is remembered in a file, with the state of
the conversations and the settings it belongs to.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from fine_tuning.core.clock import iso
from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import DataError, StorageError
from fine_tuning.core.feedback import Feedback
from fine_tuning.core.finding import Finding
from fine_tuning.core.naming import content_name
from fine_tuning.core.ports import Progress
from fine_tuning.data_collection.cleaning import Dropped
from fine_tuning.data_collection.cleaning_account import exchange_account
from fine_tuning.data_collection.cleaning_counts import CleaningCounts
from fine_tuning.data_collection.cleaning_steps import NEAR_DUPLICATE
from fine_tuning.data_collection.conversation_index import Listing, ListingKeeper
from fine_tuning.data_collection.data_cleaner import Change
from fine_tuning.data_collection.feedback_summary import (
    ConversationsWithFeedback,
    reviewed,
    withheld,
)
from fine_tuning.data_collection.recording_checks import recorded_findings
from fine_tuning.data_preparation.formatter import examples_from
from fine_tuning.storage.atomic import storage_errors, write_file
from fine_tuning.workbench.context import Context
from fine_tuning.workbench.data.cleaning_pipeline import CleaningPipeline
from fine_tuning.workbench.data.processing_history import ProcessingHistory

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DropReason:
    """Why a conversation is left out; ``twin_id`` is the one that stays in its place."""

    reason: str
    detail: str
    twin_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CleaningOutcome:
    """What a cleaning made of all conversations.

    ``version`` names the conversations and settings it belongs to; ``counts`` are those of the
    cleaning; ``drops`` and ``changed`` (the steps that change its words) are by conversation;
    ``num_pairs`` are questions with a reply that is learnt.
    """

    version: str
    made_at: str
    counts: CleaningCounts
    num_pairs: int
    drops: Mapping[str, DropReason]
    changed: Mapping[str, tuple[str, ...]]

    @property
    def findings(self) -> list[Finding]:
        """What is wrong with the conversations, and what helps."""
        return recorded_findings(self.counts, self.num_pairs)

    def duplicates(self) -> dict[str, list[str]]:
        """Return the conversations dropped as duplicates, by the one that stays."""
        found: dict[str, list[str]] = {}
        for name, drop in self.drops.items():
            if drop.twin_id:
                stays = drop.twin_id
                while (above := self.drops.get(stays)) and above.twin_id:
                    stays = above.twin_id  # the first of equals may give way to a near duplicate
                found.setdefault(stays, []).append(name)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """A conversation as it was recorded, and as it would be learnt were it the only one.

    ``learnt`` is None when cleaning would drop it, for the reason ``drop`` gives; ``feedback`` is
    what was said about it, oldest first; ``left_out`` counts its exchanges that are not trained
    on, by reason.
    """

    conversation: Conversation
    learnt: Conversation | None
    drop: DropReason | None
    feedback: tuple[Feedback, ...]
    changes: tuple[Change, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)


class ConversationIndex:
    """The recorded conversations as rows, remembered in a file; shared by all who look at them.

    Args:
        context: Workspace, store and progress.
        shared: The index whose memory is used; None begins one.
    """

    def __init__(self, context: Context, shared: ConversationIndex | None = None) -> None:
        self._context = context
        self._shared = shared
        self._mutex = threading.Lock()
        self._keeper: ListingKeeper | None = None

    @property
    def folder(self) -> Path:
        """The folder of what can be computed again."""
        return self._context.workspace.resolve("cache")

    def listing(self, progress: Progress | None = None) -> Listing:
        """Return the recorded conversations as rows; fast when little changed since the last time.

        Raises:
            StorageError: if they cannot be read.
        """
        progress = progress or self._context.progress
        if self._shared is not None:
            return self._shared.listing(progress)
        with self._mutex:
            if self._keeper is None:
                self._keeper = ListingKeeper(self._context.store, self.folder / "listing.jsonl")
        return self._keeper.listing(progress)

    def clear(self) -> None:
        """Remove what is remembered of the conversations; it is computed again when needed.

        Raises:
            StorageError: if it cannot be removed.
        """
        if self.folder.exists():
            with storage_errors(self.folder):
                shutil.rmtree(self.folder)


class ConversationReview:
    """What a user does to look through what was recorded.

    Args:
        context: Settings, store and progress.
        index: The conversations as rows.
        pipeline: Cleans them.
        history: Records what became of them.
    """

    def __init__(
        self,
        context: Context,
        index: ConversationIndex,
        pipeline: CleaningPipeline,
        history: ProcessingHistory,
    ) -> None:
        self._context = context
        self._index = index
        self._pipeline = pipeline
        self._history = history
        self._last_outcome: tuple[tuple[int, ...], CleaningOutcome] | None = None

    def outcome(self) -> CleaningOutcome | None:
        """Return what the last cleaning made of the conversations; None if none is remembered."""
        path = self._index.folder / "cleaning.json"
        try:
            with storage_errors(path):
                status = path.stat()
            seen = (status.st_ino, status.st_size, status.st_mtime_ns)
            if self._last_outcome is None or self._last_outcome[0] != seen:
                self._last_outcome = (seen, _outcome(orjson.loads(_read(path))))
            return self._last_outcome[1]
        except StorageError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _log.debug("the remembered cleaning cannot be read: %s", error)
            return None

    def outcome_version(self, listing: Listing) -> str:
        """Return the version of an outcome that would belong to the conversations as they are."""
        return content_name([listing.version, self._pipeline.settings])

    def sort_out(self) -> CleaningOutcome:
        """Clean all conversations, and remember what became of each.

        Raises:
            DataError: if none are recorded.
            StorageError: if they cannot be read.
        """
        self._pipeline.require_recorded()
        version = self.outcome_version(self._index.listing())
        run, drops, pairs = self._pipeline.stream(), {}, 0
        for record in self._history.recorded(run):
            if isinstance(record, Dropped):
                drop = DropReason(
                    reason=record.reason, detail=record.detail, twin_id=record.twin_id
                )
                drops[record.conversation.id] = drop
            else:
                pairs += sum(len(example.targets) for example in examples_from([record]))
        outcome = CleaningOutcome(
            version=version,
            made_at=iso(self._context.clock.now()),
            counts=run.counts,
            num_pairs=pairs,
            drops=drops,
            changed=run.changed,
        )
        try:
            write_file(self._index.folder / "cleaning.json", orjson.dumps(asdict(outcome)))
        except StorageError as error:
            _log.warning("what cleaning found is not remembered: %s", error.message)
        return outcome

    def look_at(self, conversation_id: str) -> Looked:
        """Return a conversation with what would be learnt of it.

        Duplicates need all conversations; the :class:`CleaningOutcome` knows of them.

        Raises:
            DataError: if there is no such conversation.
            StorageError: if it cannot be read.
        """
        conversation = self._context.store.conversation(conversation_id)
        if conversation is None:
            raise DataError(
                f"there is no conversation {conversation_id!r}, expected a recorded one"
            )
        listing = self._index.listing()
        feedback = tuple(listing.feedback.get(conversation_id, ()))
        collection = self._context.settings.data_collection
        corrected = conversation
        if collection.learn_from_feedback:
            (corrected,) = ConversationsWithFeedback(
                [conversation], feedback, lowest_rating=collection.lowest_rating
            )
        mine = {n: v for n, v in listing.feedback_summaries.items() if n == conversation_id}
        cleaner = self._pipeline.cleaner(reviewed(mine), withheld(mine))
        report = cleaner.clean([corrected])
        drops = [
            DropReason(reason=dropped.reason, detail=dropped.detail) for dropped in report.dropped
        ]
        exchanges = exchange_account(report.counts)
        return Looked(
            conversation=conversation,
            learnt=report.kept[0] if report.kept else None,
            drop=drops[0] if drops else None,
            feedback=feedback,
            changes=tuple(cleaner.changes([corrected])),
            left_out=exchanges.left_out if exchanges else {},
        )


def _read(path: Path) -> bytes:
    with storage_errors(path):
        return path.read_bytes()


def _outcome(raw: Mapping[str, Any]) -> CleaningOutcome:
    fields = dict(raw)
    fields["drops"] = {name: DropReason(**drop) for name, drop in raw["drops"].items()}
    fields["changed"] = {name: tuple(steps) for name, steps in raw["changed"].items()}
    return CleaningOutcome(**fields)


def is_twin(drop: DropReason) -> bool:
    """Tell whether a conversation was dropped for another that says the same, or nearly."""
    return drop.reason in {"duplicate", NEAR_DUPLICATE}
