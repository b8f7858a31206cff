"""What training reads: sequences of tokens, what counts in them, and what belongs together.

``Item`` is all that batches, shares, run folders and the engine know of a sequence; a
``TokenizedExample`` is one in which every target counts once. ``TrainingItem`` says more: how much
each target counts, which items are compared with each other, how often an epoch sees it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from fine_tuning.core.errors import DataError
from fine_tuning.core.example import TokenizedExample
from fine_tuning.core.json_shape import data_errors
from fine_tuning.core.json_value import JsonObject, JsonValue, trusted


class Item(Protocol):
    """One sequence of a batch.

    * ``mask[i] == 1`` MUST mean that the model is asked to predict ``ids[i]``; never the first.
    * ``weights`` MUST hold one finite number per target, in the order of the targets.
    * Items of one ``group`` other than "" MUST have one ``sampling_weight``; they stay in one step,
      one batch, one micro-batch and one share.
    * ``to_dict`` MUST give what :func:`item_from_dict` reads back as an equal item.
    """

    @property
    def example_id(self) -> str:
        """The content name of what it was made from."""
        ...

    @property
    def ids(self) -> tuple[int, ...]:
        """Token ids."""
        ...

    @property
    def mask(self) -> tuple[int, ...]:
        """0 or 1 per token."""
        ...

    @property
    def num_targets(self) -> int:
        """How many tokens are predicted."""
        ...

    @property
    def weights(self) -> tuple[float, ...]:
        """How much each target counts in the loss."""
        ...

    @property
    def group(self) -> str:
        """Names what it is compared with; "" stands for itself alone."""
        ...

    @property
    def label(self) -> float:
        """What an objective needs to know: 1 is wanted, -1 is not wanted."""
        ...

    @property
    def sampling_weight(self) -> float:
        """How often an epoch sees it; 0.25 is one epoch in four, 2 is twice in each."""
        ...

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingItem:
    """A sequence whose targets have weights; see :class:`Item` for the fields.

    Vectors in place of token ids (an image's, say) are no field yet: the engine identifies common
    beginnings by token ids, so it would take two different images for one.

    Raises:
        DataError: on construction, if a law of :class:`Item` is broken.
    """

    example_id: str
    conversation_id: str
    ids: tuple[int, ...]
    mask: tuple[int, ...]
    weights: tuple[float, ...]
    group: str = ""
    label: float = 1.0
    sampling_weight: float = 1.0

    def __post_init__(self) -> None:
        """Check the laws."""
        TokenizedExample(
            example_id=self.example_id,
            conversation_id=self.conversation_id,
            ids=self.ids,
            mask=self.mask,
        )
        if len(self.weights) != sum(self.mask) or not all(map(math.isfinite, self.weights)):
            raise DataError(
                f"item {self.example_id} has {len(self.weights)} weights for {sum(self.mask)} "
                "targets, expected a finite number for each"
            )
        if not 0 <= self.sampling_weight < math.inf:
            raise DataError(
                f"item {self.example_id} has sampling weight {self.sampling_weight}, "
                "expected 0 or more"
            )

    @classmethod
    def of(
        cls,
        example: TokenizedExample,
        *,
        weight: float = 1.0,
        group: str = "",
        label: float = 1.0,
        sampling_weight: float = 1.0,
    ) -> Self:
        """Make an item of an example, each target of the same weight."""
        return cls(
            example_id=example.example_id,
            conversation_id=example.conversation_id,
            ids=example.ids,
            mask=example.mask,
            weights=(float(weight),) * example.num_targets,
            group=group,
            label=label,
            sampling_weight=sampling_weight,
        )

    @property
    def num_targets(self) -> int:
        """How many tokens are predicted."""
        return sum(self.mask)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values: those of an example, and what this adds."""
        example = TokenizedExample(
            example_id=self.example_id,
            conversation_id=self.conversation_id,
            ids=self.ids,
            mask=self.mask,
        )
        return {
            **example.to_dict(),
            "weights": list(self.weights),
            "group": self.group,
            "label": self.label,
            "sampling_weight": self.sampling_weight,
        }

    @classmethod
    def from_dict(cls, raw: JsonObject) -> Self:
        """Read the form :meth:`to_dict` writes.

        Raises:
            DataError: if a field is missing or of the wrong type, or a law is broken.
        """
        example = TokenizedExample.from_dict(raw)
        with data_errors("a training item"):
            return cls(
                example_id=example.example_id,
                conversation_id=example.conversation_id,
                ids=example.ids,
                mask=example.mask,
                weights=tuple(float(weight) for weight in trusted(raw["weights"])),
                group=str(raw["group"]),
                label=float(trusted(raw["label"])),
                sampling_weight=float(trusted(raw["sampling_weight"])),
            )


def item_from_dict(raw: JsonObject) -> Item:
    """Read an item as its ``to_dict`` wrote it.

    Raises:
        DataError: if a field is missing or of the wrong type, or a law is broken.
    """
    return (TrainingItem if "weights" in raw else TokenizedExample).from_dict(raw)


def grouped(items: Sequence[Item]) -> list[list[int]]:
    """Return indices of items that belong together, groups in the order of their first member."""
    members: dict[Hashable, list[int]] = {}
    for index, item in enumerate(items):
        members.setdefault(item.group or index, []).append(index)
    return list(members.values())
