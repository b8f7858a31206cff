"""A/B tests as they stand: how an alias's sessions are split, and what people thought of each side.

Counts what was recorded; says nothing about which side is better.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fine_tuning.core.conversation import Conversation
from fine_tuning.data_collection.chat_turns import TRIAL
from fine_tuning.data_collection.conversation_index import Wanted
from fine_tuning.data_collection.feedback_summary import FeedbackSummary
from fine_tuning.model_management.alias_destinations import BASE
from fine_tuning.model_management.alias_history import Traffic
from fine_tuning.workbench.context import Context
from fine_tuning.workbench.data.review import ConversationIndex
from fine_tuning.workbench.models.aliases import Aliases

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What was recorded of a version since the split began: sessions it answered, thumbs it got."""

    version: str
    share: float
    num_sessions: int = 0
    up: int = 0
    down: int = 0

    @property
    def num_thumbs(self) -> int:
        """The replies that have a thumb."""
        return self.up + self.down

    @property
    def interval(self) -> tuple[float, float] | None:
        """Where the share of thumbs up lies, at 95 %; None without a thumb.

        Wilson's interval, each thumb counted as one draw: those of one session hang together, so
        that with few sessions it is rather too narrow.
        """
        if not self.num_thumbs:
            return None
        from scipy.stats import binomtest  # noqa: PLC0415 - slow to import, and seldom needed

        found = binomtest(self.up, self.num_thumbs).proportion_ci(CONFIDENCE, method="wilson")
        return float(found.low), float(found.high)

    @property
    def words(self) -> str:
        """What was recorded, in one sentence."""
        sessions = f"{self.num_sessions} session{'' if self.num_sessions == 1 else 's'}"
        interval = self.interval
        if interval is None:
            return f"{self.version}: {sessions}, no thumb yet"
        thumbs = f"{self.num_thumbs} thumb{'' if self.num_thumbs == 1 else 's'}"
        low, high = (f"{100 * one:.0f}" for one in interval)
        up = 100 * self.up / self.num_thumbs
        return f"{self.version}: {sessions}, {thumbs}, {up:.0f} % up (95 %: {low} to {high} %)"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        interval = self.interval
        return {
            "version": self.version,
            "share": self.share,
            "sessions": self.num_sessions,
            "thumbs": self.num_thumbs,
            "up": self.up,
            "share_up": self.up / self.num_thumbs if self.num_thumbs else None,
            "interval": list(interval) if interval else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """An alias whose sessions two versions answer; ``champion`` has what the other has not."""

    traffic: Traffic
    champion: Tally
    challenger: Tally

    @property
    def num_sessions(self) -> int:
        """The sessions recorded since it began; one that met both counts with each."""
        return self.champion.num_sessions + self.challenger.num_sessions

    @property
    def words(self) -> str:
        """How it is split, in one sentence."""
        sides = ", ".join(
            f"{100 * one.share:.0f} % {one.version}" for one in (self.champion, self.challenger)
        )
        since = self.traffic.since[:16].replace("T", " ")
        return f"{self.traffic.alias}: {sides}, since {since}, {self.num_sessions} sessions"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "alias": self.traffic.alias,
            "runtime": self.traffic.runtime,
            "family": self.traffic.family,
            "since": self.traffic.since,
            "sides": [self.champion.to_dict(), self.challenger.to_dict()],
        }


@dataclass(slots=True)
class _Counts:
    sessions: set[str] = field(default_factory=set)
    up: int = 0
    down: int = 0


class AbTests:
    """How A/B tests stand.

    Args:
        context: The store.
        index: The recorded conversations as rows.
        aliases: How sessions are split.
    """

    def __init__(self, context: Context, index: ConversationIndex, aliases: Aliases) -> None:
        self._context = context
        self._index = index
        self._aliases = aliases

    def splits(self) -> list[Split]:
        """Return the A/B tests under way, each with what was recorded since it began.

        A reply counts for the version its record names, drawn or picked; replies compared side by
        side do not count.

        Raises:
            StorageError: if the conversations cannot be read.
        """
        champions = {(one.runtime, one.alias): one.version for one in self._aliases.all_aliases()}
        found: list[Split] = []
        for traffic in self._aliases.traffic():
            version = champions.get((traffic.runtime, traffic.alias), "")
            first = version or f"{traffic.family}:{BASE}"
            counts = self._counted(traffic.since)
            found.append(
                Split(
                    traffic=traffic,
                    champion=_tally(first, 1 - traffic.share, counts),
                    challenger=_tally(traffic.version, traffic.share, counts),
                )
            )
        return found

    def _counted(self, since: str) -> dict[str, _Counts]:
        """Count the replies recorded since a moment, by version."""
        listing = self._index.listing()
        names = [row.id for row in listing.find(Wanted(since=since))]
        given = filter(None, map(self._context.store.conversation, names))
        return _counts(given, listing.feedback_summaries, since)


def _counts(
    conversations: Iterable[Conversation], summaries: Mapping[str, FeedbackSummary], since: str
) -> dict[str, _Counts]:
    found: dict[str, _Counts] = {}
    for conversation in conversations:
        summary = summaries.get(conversation.id, FeedbackSummary())
        for message in conversation.messages:
            version = str(message.metadata.get("version", ""))
            is_beside = message.metadata.get("note") == TRIAL
            if not version or is_beside or message.created_at < since:
                continue
            counts = found.setdefault(version, _Counts())
            counts.sessions.add(conversation.id)
            thumb = summary.thumbs.get(message.id, 0)
            counts.up += thumb > 0
            counts.down += thumb < 0
    return found


def _tally(version: str, share: float, counts: Mapping[str, _Counts]) -> Tally:
    own = counts.get(version, _Counts())
    return Tally(
        version=version, share=share, num_sessions=len(own.sessions), up=own.up, down=own.down
    )
