"""Examples to token ids and the mask of those to learn, exactly as serving will see them.

In serving the prompt is tokenised as one text and the reply is generated after it, token by token.
Training must see the same: the ids before every learnt reply are the ids of its rendered prompt,
and no token reaches across that boundary. Knows no model: tokenizer and renderer come as ports.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from fine_tuning.core.errors import ConfigError
from fine_tuning.core.example import Example, TokenizedExample
from fine_tuning.core.ports import PromptRenderer, Tokenizer
from fine_tuning.data_preparation.chat_template import (
    NOT_SHOWN,
    NOTHING_BEFORE,
    REFUSED,
    ChatTemplate,
    TurnEnding,
    UnlearnableError,
)
from fine_tuning.data_preparation.formatter import Drop
from fine_tuning.data_preparation.incremental_prompts import ConversationPrompts, IncrementalPrompts

__all__ = [
    "DEFAULT_MAX_LENGTH",
    "IGNORED_LABEL",
    "NOTHING_BEFORE",
    "NOT_SHOWN",
    "REFUSED",
    "TRUNCATIONS",
    "ExampleTokenizer",
    "Tokenization",
    "show_mask",
    "tokenize_example",
]

logger = logging.getLogger(__name__)

DEFAULT_MAX_LENGTH = 2048
IGNORED_LABEL = -100
"""The label of a token that is not learnt: ``ignore_index`` of PyTorch's cross entropy."""

NOT_TEXT = "a message holds more than text"
NO_TARGETS = "nothing to learn"
TOO_LONG = "beyond max_length"

TRUNCATIONS: tuple[str, ...] = ("cut", "drop", "oldest")
"""What becomes of a reply that crosses ``max_length``; see :class:`ExampleTokenizer`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenization:
    """What became of one example: its sequences, what was lost, and how many replies were cut."""

    sequences: tuple[TokenizedExample, ...] = ()
    drops: tuple[Drop, ...] = ()
    num_cut: int = 0


class _Sequence:
    """Ids and mask, grown together through one method so that they cannot drift apart."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.mask: list[int] = []
        self.ends: list[int] = []

    def add(self, ids: Sequence[int], bit: int) -> None:
        self.ids += ids
        self.mask += [bit] * len(ids)

    def end_reply(self) -> None:
        """Note that a reply, end of turn included, ends here."""
        self.ends.append(len(self.ids))


class ExampleTokenizer:
    """Tokenises examples for one model; asks the template once how it ends a turn.

    The recipe, for every target turn k (the last paragraph of llama.cpp's serving path:
    tools/server/server-context.cpp tokenises the whole prompt with ``add_special`` and
    ``parse_special``):

    1. The prompt is ``render(messages[:k], add_generation_prompt=True)``, tokenised as a whole.
       Text of a user that looks like a special token becomes that token, because serving reads it
       so too.
    2. The reply is tokenised by itself, special tokens in it as plain text: a model that talks
       about ``<|im_end|>`` must not learn to stop there.
    3. The end of turn is tokenised by itself, special tokens parsed, and is learnt.

    When the ids of the next prompt begin with all ids so far, the turns share one sequence; else
    (templates that drop old thinking, replies that tokenise differently in the past) each has its
    own, so that the law "ids before a reply are the ids of its prompt" always holds.

    Args:
        tokenizer: The serving runtime's tokenizer.
        renderer: The serving runtime's template.
        max_length: The longest sequence, in tokens.
        truncation: What becomes of a reply that crosses it: "cut" learns it up to there, "drop"
            does not learn it, "oldest" first leaves out the oldest exchanges, as a server does
            whose context is full, and cuts only what still does not fit.

    Raises:
        ConfigError: if ``max_length`` is below 2, or ``truncation`` is unknown.
        DataError: if the template leaves replies out, or ends them with nothing a model could say.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        renderer: PromptRenderer,
        *,
        max_length: int,
        truncation: str = "cut",
    ) -> None:
        if max_length < 2:  # noqa: PLR2004 - one token to see, one to learn
            raise ConfigError(f"max_length is {max_length}, expected at least 2 tokens")
        if truncation not in TRUNCATIONS:
            raise ConfigError(
                f"truncation is {truncation!r}, expected one of {', '.join(TRUNCATIONS)}"
            )
        self.truncation = truncation
        self.tokenizer = tokenizer
        self.renderer = renderer
        self.max_length = max_length
        self._turns = ChatTemplate(tokenizer, renderer)
        self._prompts = IncrementalPrompts(self._turns)

    @property
    def ending(self) -> TurnEnding:
        """How the template surrounds a reply."""
        return self._turns.ending

    @property
    def end_ids(self) -> list[int]:
        """The tokens that end a reply; serving stops on the last of them."""
        return self._turns.end_ids

    def tokenize(self, example: Example) -> Tokenization:
        """Return the sequences of an example, and what of it cannot be learnt."""
        drops: list[Drop] = []
        sequences: list[_Sequence] = []
        if not example.targets:
            drops.append(_drop(example, NO_TARGETS, targets=0))
        others = (
            place
            for place, message in enumerate(example.messages)
            if any(part.type != "text" for part in message.content)
        )
        first_other = next(others, len(example.messages))
        prompts = ConversationPrompts(
            self._prompts, example.messages, example.targets, self.max_length
        )
        take = prompts.fitting if self.truncation == "oldest" else prompts.at
        for place, target in enumerate(example.targets):
            if target >= first_other:
                drops.append(_drop(example, NOT_TEXT))
                continue
            try:
                prompt, reply = take(place)
            except UnlearnableError as error:
                drops.append(_drop(example, error.reason, str(error)))
                continue
            if len(prompt) >= self.max_length and self.truncation != "oldest":
                lost = len(example.targets) - place  # later prompts are longer still
                drops.append(_drop(example, TOO_LONG, f"{len(prompt)} tokens before", targets=lost))
                break
            self._append(sequences, prompt, reply)
        kept = [self._cut(sequence, example, drops) for sequence in sequences]
        return Tokenization(
            sequences=tuple(sequence for sequence, _ in kept if sequence is not None),
            drops=tuple(drops),
            num_cut=sum(num_cut for _, num_cut in kept),
        )

    def _append(self, sequences: list[_Sequence], prompt: list[int], reply: list[int]) -> None:
        """Add a turn to the last sequence when its prompt continues that, else to a new one."""
        last = sequences[-1] if sequences else None
        if last is None or prompt[: len(last.ids)] != last.ids:
            last = _Sequence()
            sequences.append(last)
        last.add(prompt[len(last.ids) :], 0)
        last.add(reply, 1)
        last.end_reply()

    def _cut(
        self, sequence: _Sequence, example: Example, drops: list[Drop]
    ) -> tuple[TokenizedExample | None, int]:
        """Return a sequence cut after its last learnt token that fits, and how many replies broke.

        A reply that begins beyond ``max_length`` is dropped; one that crosses it is learnt up to
        there, without an end of turn it does not have, or dropped if "drop" says so.
        """
        mask = sequence.mask[: self.max_length]
        length = len(mask) - next((i for i, bit in enumerate(reversed(mask)) if bit), len(mask))
        num_whole = sum(end <= length for end in sequence.ends)
        is_broken = bool(length) and length not in sequence.ends
        if is_broken and self.truncation == "drop":
            length, is_broken = (
                max((end for end in sequence.ends if end <= length), default=0),
                False,
            )
        lost = len(sequence.ends) - num_whole - is_broken
        if lost:
            detail = f"{len(sequence.ids)} tokens, max_length {self.max_length}"
            drops.append(_drop(example, TOO_LONG, detail, targets=lost))
        if not length:
            return None, 0
        tokenized = TokenizedExample(
            example_id=example.id,
            conversation_id=example.conversation_id,
            ids=tuple(sequence.ids[:length]),
            mask=tuple(mask[:length]),
        )
        return tokenized, int(is_broken)


def tokenize_example(
    example: Example, tokenizer: Tokenizer, renderer: PromptRenderer, *, max_length: int
) -> list[TokenizedExample]:
    """Return the sequences of one example; what was dropped or cut is logged as a warning.

    For many examples, or to count drops, use :class:`ExampleTokenizer`, whose rules these are.

    Raises:
        ConfigError: if ``max_length`` is below 2.
        DataError: if the template leaves replies out, or ends them with nothing a model could say.
    """
    done = ExampleTokenizer(tokenizer, renderer, max_length=max_length).tokenize(example)
    for reason, count in Counter(drop.reason for drop in done.drops).items():
        logger.warning(
            "%d parts of conversation %s are not trained on: %s",
            count,
            example.conversation_id,
            reason,
        )
    if done.num_cut:
        logger.warning(
            "a reply of conversation %s was cut at %d tokens", example.conversation_id, max_length
        )
    return list(done.sequences)


def show_mask(tokenized: TokenizedExample, tokenizer: Tokenizer, *, ansi: bool = True) -> str:
    """Return the text of a sequence with what is learnt in green and what is context dimmed.

    Args:
        tokenized: The sequence.
        tokenizer: The tokenizer its ids are from.
        ansi: Terminal colours; else learnt text stands between ``[[`` and ``]]``.
    """
    learnt, context = ("\x1b[32m{}\x1b[0m", "\x1b[2m{}\x1b[0m") if ansi else ("[[{}]]", "{}")
    pieces: list[str] = []
    start = 0
    for end in range(1, len(tokenized.ids) + 1):
        if end < len(tokenized.ids) and tokenized.mask[end] == tokenized.mask[start]:
            continue
        # Whole runs are decoded: a character may be spread over several tokens.
        text = tokenizer.decode(tokenized.ids[start:end])
        pieces.append((learnt if tokenized.mask[start] else context).format(text))
        start = end
    return "".join(pieces)


def _drop(example: Example, reason: str, detail: str = "", *, targets: int = 1) -> Drop:
    return Drop(
        conversation_id=example.conversation_id, reason=reason, detail=detail, num_targets=targets
    )
