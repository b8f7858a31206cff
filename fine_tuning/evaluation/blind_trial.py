"""A blind trial: a person compares two models' replies without knowing whose is whose.

A page asks for the next pair, shows left and right, and brings back the vote; the trial keeps
votes in a JSON Lines file, so it may be left and taken up again. Its result joins the same table
as every metric. What this does not know: pages, and where replies come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from fine_tuning.core.errors import DataError
from fine_tuning.evaluation.preference_suites import (
    ReplyPair,
    Winner,
    candidate_first,
    preference_suites,
)
from fine_tuning.evaluation.results import SuiteResult
from fine_tuning.storage.atomic import storage_errors
from fine_tuning.storage.json_lines import append, decode, encode, lines, locked

Vote = Literal["left", "right", "tie"]
SUITE = "people"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlindPair:
    """What the person sees; nothing in it tells the models apart."""

    id: str
    prompt: str
    left: str
    right: str


class BlindTrial:
    """One person's votes on pairs of replies.

    Args:
        pairs: What is compared; equal replies are a tie unasked.
        votes_file: Where votes are kept, appended as they are given.
        seed: Decides which reply stands left.

    Raises:
        DataError: if there are no pairs, or two have the same id.
    """

    def __init__(self, pairs: Sequence[ReplyPair], votes_file: Path, *, seed: int = 0) -> None:
        self._pairs = {pair.id: pair for pair in pairs}
        if not pairs or len(self._pairs) != len(pairs):
            raise DataError(
                f"a blind trial was given {len(pairs)} pairs with {len(self._pairs)} ids, expected "
                "at least one and an id each"
            )
        self._file = votes_file
        self._seed = seed
        self._winners: dict[str, Winner] = {pair.id: "tie" for pair in pairs if pair.is_equal}
        self._read_votes()

    @property
    def num_open(self) -> int:
        """Pairs without a vote."""
        return len(self._pairs) - len(self._winners)

    def next_pair(self) -> BlindPair | None:
        """Return a pair without a vote, or None when all have one."""
        for pair in self._pairs.values():
            if pair.id not in self._winners:
                left, right = pair.reference, pair.candidate
                if candidate_first(pair.id, seed=self._seed):
                    left, right = right, left
                return BlindPair(id=pair.id, prompt=pair.prompt, left=left, right=right)
        return None

    def vote(self, pair_id: str, vote: Vote) -> None:
        """Keep a vote; a later one on the same pair takes the place of the earlier.

        Raises:
            DataError: if the pair or the vote is unknown.
            StorageError: if it could not be kept.
        """
        if pair_id not in self._pairs or vote not in get_args(Vote):
            raise DataError(
                f"vote {vote!r} on pair {pair_id!r}, expected left, right or tie on one of the "
                f"trial's {len(self._pairs)} pairs"
            )
        winner: Winner = "tie"
        if vote != "tie":
            is_candidate = (vote == "left") == candidate_first(pair_id, seed=self._seed)
            winner = "candidate" if is_candidate else "reference"
        line = encode({"pair": pair_id, "vote": vote, "winner": winner})
        with storage_errors(self._file), locked(self._file, exclusive=True) as handle:
            append(handle, line)
        self._winners[pair_id] = winner

    def result(self, models: tuple[str, str]) -> tuple[SuiteResult, SuiteResult]:
        """Return the preferences so far, of reference and candidate.

        Raises:
            DataError: if no pair has a vote.
        """
        voted = [pair for pair in self._pairs.values() if pair.id in self._winners]
        winners = [self._winners[pair.id] for pair in voted]
        return preference_suites(voted, winners, suite=SUITE, models=models)

    def choices(self) -> list[tuple[ReplyPair, Winner]]:
        """Return the pairs the person decided, to check a judge model against."""
        return [
            (pair, self._winners[pair.id])
            for pair in self._pairs.values()
            if pair.id in self._winners and not pair.is_equal
        ]

    def _read_votes(self) -> None:
        """Take earlier votes; a line that cannot be read (its writer was killed) is no vote."""
        if not self._file.is_file():
            return
        with storage_errors(self._file), self._file.open("rb") as file:
            for line in lines(file):
                with suppress(DataError):
                    raw = decode(line) or {}
                    self._take(str(raw.get("pair")), raw.get("winner"))

    def _take(self, pair_id: str, winner: object) -> None:
        if pair_id in self._pairs and winner in get_args(Winner):
            self._winners[pair_id] = winner  # type: ignore[assignment]
