"""What is learnt: an example says which messages are targets, a tokenized one says which ids are.

The two are the only forms in which data reaches training. ``TokenizedExample`` keeps ids and mask
of equal length by construction; ``mask[i] == 1`` means *the model is asked to predict ids[i]*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from fine_tuning.core.conversation import Message
from fine_tuning.core.errors import DataError
from fine_tuning.core.json_shape import data_errors
from fine_tuning.core.json_value import JsonObject, JsonValue, trusted
from fine_tuning.core.naming import content_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A branch of a conversation, or a part of it, with the turns to train on.

    ``targets`` are indices into ``messages``, each an assistant turn, in rising order. ``tools``
    are the functions the model was offered, in OpenAI's form.

    Raises:
        DataError: on construction, if a target is out of range or not an assistant turn.
    """

    conversation_id: str
    messages: tuple[Message, ...]
    targets: tuple[int, ...]
    tools: tuple[JsonObject, ...] = ()

    def __post_init__(self) -> None:
        """Refuse targets that are not the assistant's words."""
        for index in self.targets:
            if not 0 <= index < len(self.messages) or self.messages[index].role != "assistant":
                raise DataError(
                    f"example of conversation {self.conversation_id} has target {index}, "
                    f"expected the index of an assistant turn among {len(self.messages)} messages"
                )

    @property
    def id(self) -> str:
        """The name of its content: texts, roles and targets, and tools where there are any."""
        turns = [[m.role, m.text, [call.to_dict() for call in m.tool_calls]] for m in self.messages]
        tools = [[dict(tool) for tool in self.tools]] if self.tools else []
        return content_name([turns, list(self.targets), *tools])


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizedExample:
    """Token ids and the mask of those to predict; both have the same length.

    Raises:
        DataError: on construction, if the lengths differ, or the first token is a target (nothing
            stands before it to predict it from).
    """

    example_id: str
    conversation_id: str
    ids: tuple[int, ...]
    mask: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check the two laws of a mask."""
        if len(self.ids) != len(self.mask):
            raise DataError(
                f"example {self.example_id} has {len(self.ids)} ids and {len(self.mask)} mask "
                "entries, expected as many of one as of the other"
            )
        if self.mask and self.mask[0]:
            raise DataError(f"example {self.example_id} asks to predict its first token")

    @property
    def num_targets(self) -> int:
        """How many tokens are learnt."""
        return sum(self.mask)

    @property
    def weights(self) -> tuple[float, ...]:
        """How much each target counts in the loss: once."""
        return (1.0,) * self.num_targets

    @property
    def group(self) -> str:
        """What it is compared with: nothing."""
        return ""

    @property
    def label(self) -> float:
        """1: what it shows is wanted."""
        return 1.0

    @property
    def sampling_weight(self) -> float:
        """How often an epoch sees it: once."""
        return 1.0

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values; the mask as a string of 0 and 1."""
        return {
            "example_id": self.example_id,
            "conversation_id": self.conversation_id,
            "ids": list(self.ids),
            "mask": "".join(map(str, self.mask)),
        }

    @classmethod
    def from_dict(cls, raw: JsonObject) -> Self:
        """Read the form :meth:`to_dict` writes.

        Raises:
            DataError: if a field is missing or of the wrong type, or a law of the mask is broken.
        """
        with data_errors("a tokenized example"):
            return cls(
                example_id=str(raw["example_id"]),
                conversation_id=str(raw["conversation_id"]),
                ids=tuple(int(i) for i in trusted(raw["ids"])),
                mask=tuple(int(bit) for bit in trusted(raw["mask"])),
            )
