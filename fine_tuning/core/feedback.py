"""What was said: of a reply (thumb, rating, edit, choice) or of a conversation as a whole.

Who said it is kept apart: what a person meant is learnt from, what a model or a rule thought is not
unless asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, Self, TypedDict, get_args

from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject, JsonValue, trusted

FeedbackKind = Literal["thumb", "rating", "correction", "choice", "review", "consent", "title"]
KINDS: tuple[str, ...] = get_args(FeedbackKind)
RATING_RANGE = range(1, 11)
AnnotatorKind = Literal["human", "model", "code"]
ANNOTATOR_KINDS: tuple[str, ...] = get_args(AnnotatorKind)


class FeedbackFields(TypedDict, total=False):
    """What feedback may say; which of it it must say depends on its kind."""

    value: int
    text: str
    rejected_id: str
    reason: str
    comment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """Feedback on one message, or on a conversation as a whole.

    * ``thumb``: ``value`` is 1 or -1; 0 takes an earlier thumb back.
    * ``rating``: ``value`` is 1 (worst) to 10 (best).
    * ``correction``: ``text`` is the reply as it should have been; it becomes a training target.
    * ``choice``: the message was kept and ``rejected_id``, a sibling, was not.

    Of a whole conversation, with ``message_id`` "":

    * ``review``: ``value`` 1 is learnt whatever rules of thumb say, -1 is not learnt, 0 takes an
      earlier review back.
    * ``consent``: ``value`` -1 is never learnt, 1 takes that back.
    * ``title``: ``text`` is its name from now on.

    ``annotator_kind`` says who gave it: a person, a model or a rule of some program; ``annotator``
    names which, "" for the user.

    Raises:
        DataError: on construction, if the kind is unknown or its field is missing or out of range.
    """

    id: str
    conversation_id: str
    message_id: str
    kind: FeedbackKind
    value: int = 0
    text: str = ""
    rejected_id: str = ""
    reason: str = ""
    comment: str = ""
    created_at: str = ""
    annotator_kind: AnnotatorKind = "human"
    annotator: str = ""

    def __post_init__(self) -> None:
        """Refuse feedback that says nothing."""
        expected = {
            "thumb": (self.value in {1, 0, -1}, f"value {self.value}, expected 1, 0 or -1"),
            "rating": (self.value in RATING_RANGE, f"value {self.value}, expected 1 to 10"),
            "correction": (bool(self.text.strip()), "an empty text, expected the better reply"),
            "choice": (bool(self.rejected_id), "no rejected_id, expected the other reply's id"),
            "review": (self.value in {1, 0, -1}, f"value {self.value}, expected 1, 0 or -1"),
            "consent": (self.value in {1, -1}, f"value {self.value}, expected 1 or -1"),
            "title": (bool(self.text.strip()), "an empty text, expected a name"),
        }
        if self.kind not in expected:
            raise DataError(f"feedback has kind {self.kind!r}, expected one of {', '.join(KINDS)}")
        if self.annotator_kind not in ANNOTATOR_KINDS:
            raise DataError(
                f"feedback is by a {self.annotator_kind!r}, "
                f"expected one of {', '.join(ANNOTATOR_KINDS)}"
            )
        holds, found = expected[self.kind]
        if not holds:
            raise DataError(f"{self.kind} feedback has {found}")

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the feedback as plain JSON values."""
        return {spec.name: getattr(self, spec.name) for spec in fields(self)}

    @classmethod
    def from_dict(cls, raw: JsonObject) -> Self:
        """Read the form :meth:`to_dict` writes.

        Raises:
            DataError: if a required field is missing or a value is out of range.
        """
        known = {spec.name for spec in fields(cls)}
        missing = {"id", "conversation_id", "message_id", "kind"} - raw.keys()
        if missing:
            raise DataError(f"feedback lacks {', '.join(sorted(missing))}")
        return cls(**{key: value for key, value in trusted(raw).items() if key in known})
