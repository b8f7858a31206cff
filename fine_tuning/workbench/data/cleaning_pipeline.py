"""The recorded conversations on their way through cleaning, by the settings and by feedback."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import DataError
from fine_tuning.core.ports import ConversationStore
from fine_tuning.data_collection.cleaning import Cleaning, Dropped
from fine_tuning.data_collection.data_cleaner import DataCleaner
from fine_tuning.data_collection.feedback_summary import (
    ConversationsWithFeedback,
    feedback_summaries,
    liked_replies,
    reviewed,
    withheld,
)
from fine_tuning.workbench.context import Context

PROGRESS_EVERY = 64


class CleaningPipeline:
    """Cleans what was recorded; the log itself stays as it is.

    Args:
        context: Settings, store and progress.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    @property
    def settings(self) -> dict[str, Any]:
        """The settings the outcome of a cleaning depends on, as plain JSON values."""
        return self._context.settings.data_collection.model_dump(mode="json")

    def with_feedback(self) -> Iterable[Conversation]:
        """Return the recorded conversations as feedback says they are to be trained on.

        With ``data_collection.learn_from_feedback`` off they are as they were recorded.
        """
        store = self._context.store
        collection = self._context.settings.data_collection
        if not collection.learn_from_feedback:
            return self._with_progress(store)
        return ConversationsWithFeedback(
            self._with_progress(store), store.feedback(), lowest_rating=collection.lowest_rating
        )

    def _with_progress(self, store: ConversationStore) -> Iterator[Conversation]:
        """Yield the recorded conversations; report how many went to the cleaning."""
        progress = self._context.progress
        total = store.count() if progress else 0
        number = 0
        for number, conversation in enumerate(store.conversations(), start=1):
            yield conversation
            if progress and number % PROGRESS_EVERY == 0:
                progress("cleaning", number, total)
        if progress:
            progress("cleaning", number, total)

    def reviewed(self) -> dict[str, bool]:
        """Return the conversations a person decided on: True for accepted, False for rejected."""
        return reviewed(feedback_summaries(self._context.store.feedback()))

    def withheld(self) -> frozenset[str]:
        """Return the conversations that must not be trained on."""
        return withheld(feedback_summaries(self._context.store.feedback()))

    def liked(self) -> frozenset[tuple[str, str]]:
        """Return conversation and message id of the replies people liked."""
        return liked_replies(self._context.store.feedback())

    def cleaner(
        self, reviewed: Mapping[str, bool] | None = None, withheld: Collection[str] = ()
    ) -> DataCleaner:
        """Return a cleaner by the settings.

        Args:
            reviewed: The conversations a person accepted (True) or rejected (False).
            withheld: The conversations that must not be trained on.
        """
        collection = self._context.settings.data_collection
        return DataCleaner(
            min_length=collection.min_conversation_length,
            max_length=collection.max_conversation_length,
            skip=collection.skip_steps,
            phone_regions=collection.phone_regions,
            private_kinds=collection.redact,
            max_tokens=collection.max_conversation_tokens,
            languages=collection.languages,
            min_quality=collection.min_quality,
            max_same_reply=collection.max_same_reply,
            similarity=collection.near_duplicate_similarity,
            moderation=collection.moderation,
            toxicity_threshold=collection.toxicity_threshold,
            reviewed=reviewed or {},
            withheld=withheld,
        )

    def full_cleaner(self) -> DataCleaner:
        """Return a cleaner by the settings and by what persons decided."""
        return self.cleaner(self.reviewed(), self.withheld())

    def stream(self) -> Cleaning:
        """Return a cleaning of the recorded conversations as a stream."""
        return self.full_cleaner().stream(self.with_feedback())

    def require_recorded(self) -> None:
        """Do nothing if conversations are recorded.

        Raises:
            DataError: if none are.
        """
        if next(iter(self._context.store.conversations()), None) is None:
            raise DataError(
                f"No conversations to train on: {self._context.workspace.conversations} holds none",
                next_command="fine-tuning chat, or fine-tuning import FILE",
            )


def kept_of(run: Iterable[Conversation | Dropped]) -> Iterator[Conversation]:
    """Yield what a cleaning keeps."""
    return (outcome for outcome in run if not isinstance(outcome, Dropped))
