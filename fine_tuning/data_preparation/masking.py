"""Examples to token ids and the mask of those to learn, exactly as serving will see them.

In serving the prompt is tokenised as one text and the reply is generated after it, token by token.
Training must see the same: the ids before every learnt reply are the ids of its rendered prompt,
and no token reaches across that boundary. Knows no model: tokenizer and renderer come as ports.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fine_tuning.core.conversation import Message
from fine_tuning.core.errors import ConfigError
from fine_tuning.core.example import Example, TokenizedExample
from fine_tuning.core.json_value import JsonObject
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
from fine_tuning.data_preparation.incremental_prompts import IncrementalPrompts
from fine_tuning.data_preparation.template_reading import (
    NOT_TEXT,
    ReadableConversation,
    TemplateReading,
)
from fine_tuning.data_preparation.turn_changes import TemplateTurn
from fine_tuning.data_preparation.windows import WindowedPrompts, WindowPrompt

__all__ = [
    "DEFAULT_MAX_LENGTH",
    "IGNORED_LABEL",
    "NOTHING_BEFORE",
    "NOT_SHOWN",
    "NOT_TEXT",
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

NO_TARGETS = "nothing to learn"
TOO_LONG = "beyond max_length"

WINDOWS = "windows"
TRUNCATIONS: tuple[str, ...] = (WINDOWS, "cut", "drop", "oldest")
"""What becomes of a conversation beyond ``max_length``; see :class:`ExampleTokenizer`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenization:
    """What became of one example: its sequences, what was lost, and how many replies were cut.

    ``examples`` are the parts of the example that the sequences hold, one each: the messages as the
    template was given them, and the replies trained on. The ids before a reply are those of the
    rendering of the messages before it (but with truncation "oldest").
    """

    sequences: tuple[TokenizedExample, ...] = ()
    examples: tuple[Example, ...] = ()
    drops: tuple[Drop, ...] = ()
    num_cut: int = 0


class _Sequence:
    """Ids and mask, grown together through one method so that they cannot drift apart."""

    def __init__(self, messages: Sequence[Message], start: int) -> None:
        self.messages = messages
        self.start = start
        self.ids: list[int] = []
        self.mask: list[int] = []
        self.ends: list[int] = []
        self.places: list[int] = []

    def add(self, ids: Sequence[int], bit: int) -> None:
        self.ids += ids
        self.mask += [bit] * len(ids)

    def end_reply(self, place: int) -> None:
        """Note that the reply at a place of the messages, end of turn included, ends here."""
        self.ends.append(len(self.ids))
        self.places.append(place)


class ExampleTokenizer:
    """Tokenises examples for one model; asks the template once how it writes a turn.

    The conversation is put before the template as serving puts it; only what the template refuses
    is adapted (``template_reading.py``). Pictures and other parts that are no text are named in
    their place, and the exchange that needs them is not trained on.

    The recipe, for every target turn k (the last paragraph of llama.cpp's serving path:
    tools/server/server-context.cpp tokenises the whole prompt with ``add_special`` and
    ``parse_special``):

    1. The prompt is ``render(messages[:k], add_generation_prompt=True)``, tokenised as a whole.
       Text of a user that looks like a special token becomes that token, because serving reads it
       so too.
    2. The reply is tokenised by itself, special tokens in it as plain text: a model that talks
       about ``<|im_end|>`` must not learn to stop there.
    3. Where the prompt opens a thought, the reply closes it first, behind the recorded thought if
       there is one; see ``reply_form.py``, also for bases that choose whether to think.
    4. The end of turn is tokenised by itself, special tokens parsed, and is learnt.

    When the ids of the next prompt begin with all ids so far, the turns share one sequence; else
    (templates that drop old thinking, replies that tokenise differently in the past) each has its
    own, so that the law "ids before a reply are the ids of its prompt" always holds.

    Args:
        tokenizer: The serving runtime's tokenizer.
        renderer: The serving runtime's template.
        max_length: The longest sequence, in tokens.
        truncation: What becomes of a longer conversation. "windows" makes several sequences of it
            that overlap in context only: each further one begins at an exchange, with the system
            message and about a quarter of ``max_length`` of earlier exchanges; only a reply whose
            exchange does not fit by itself is cut. "cut" trains on a reply that crosses
            ``max_length`` up to there and drops later ones, "drop" drops it too, "oldest" leaves
            out the oldest exchanges before each reply, as a server does whose context is full.

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
        truncation: str = WINDOWS,
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
        self._reading = TemplateReading(renderer)
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
        """Return the sequences of an example, and what of it cannot be trained on.

        The conversation is tried as it is, then adapted to what the template reads, then without
        the exchanges it still refuses.
        """
        if not example.targets:
            return Tokenization(drops=(_drop(example, NO_TARGETS, targets=0),))
        as_it_is = self._reading.as_it_is(example)
        try:
            done = self._attempt(example, as_it_is)
        except UnlearnableError:
            adapted = self._reading.adapted(as_it_is)
            try:
                done = self._attempt(example, adapted)
            except UnlearnableError:
                done = self._in_parts(example, adapted)
            as_it_is = adapted
        lost = Counter(as_it_is.lost).items()
        drops = [_drop(example, reason, targets=count) for reason, count in lost]
        return replace(done, drops=(*drops, *done.drops))

    def _in_parts(self, example: Example, conversation: ReadableConversation) -> Tokenization:
        """Return what the template reads of a conversation that it refuses as a whole.

        Exchanges that it refuses by themselves are left out; when it refuses the others together,
        each stands alone.
        """
        drops: list[Drop] = []
        alone: list[Tokenization] = []
        kept: list[TemplateTurn] = []
        for part in conversation.exchanges():
            try:
                alone.append(self._attempt(example, part))
                kept += part.turns
            except UnlearnableError as error:
                drops.append(_drop(example, REFUSED, str(error), targets=len(part.targets)))
        try:
            found = [self._attempt(example, replace(conversation, turns=tuple(kept)))]
        except UnlearnableError:
            found = alone
        return Tokenization(
            sequences=tuple(one for part in found for one in part.sequences),
            examples=tuple(one for part in found for one in part.examples),
            drops=(*drops, *(drop for part in found for drop in part.drops)),
            num_cut=sum(part.num_cut for part in found),
        )

    def _attempt(self, example: Example, conversation: ReadableConversation) -> Tokenization:
        """Return the sequences of a conversation.

        Raises:
            UnlearnableError: if the template or the tokenizer refuses a prompt.
        """
        drops: list[Drop] = []
        sequences: list[_Sequence] = []
        prompts = WindowedPrompts(self._prompts, conversation, self.max_length)
        targets = conversation.targets
        for number, target in enumerate(targets):
            try:
                if self.truncation == "oldest":
                    found = prompts.oldest_left_out(target)
                else:
                    found = prompts.at(target, moves=self.truncation == WINDOWS)
            except UnlearnableError as error:
                if error.reason == REFUSED:
                    raise
                drops.append(_drop(example, error.reason, str(error)))
                continue
            if len(found.prompt) >= self.max_length and self.truncation != "oldest":
                # Without windows later prompts are longer still.
                lost = 1 if self.truncation == WINDOWS else len(targets) - number
                detail = f"{len(found.prompt)} tokens before"
                drops.append(_drop(example, TOO_LONG, detail, targets=lost))
                if lost > 1:
                    break
                continue
            _append(sequences, found)
        return self._tokenization(example, sequences, drops, conversation.tools)

    def _tokenization(
        self,
        example: Example,
        sequences: Sequence[_Sequence],
        drops: list[Drop],
        tools: tuple[JsonObject, ...],
    ) -> Tokenization:
        """Return sequences cut to ``max_length``, each with the part of the example it holds."""
        kept: list[tuple[TokenizedExample, Example]] = []
        num_cut = 0
        for sequence in sequences:
            length, num_whole, is_broken = self._length(sequence)
            if lost := len(sequence.ends) - num_whole - is_broken:
                detail = f"{len(sequence.ids)} tokens, max_length {self.max_length}"
                drops.append(_drop(example, TOO_LONG, detail, targets=lost))
            if not length:
                continue
            targets = tuple(sequence.places[: num_whole + is_broken])
            part = Example(
                conversation_id=example.conversation_id,
                messages=tuple(sequence.messages[: targets[-1] + 1]),
                targets=targets,
                tools=tools,
            )
            tokenized = TokenizedExample(
                example_id=part.id,
                conversation_id=example.conversation_id,
                ids=tuple(sequence.ids[:length]),
                mask=tuple(sequence.mask[:length]),
            )
            kept.append((tokenized, part))
            num_cut += is_broken
        return Tokenization(
            sequences=tuple(tokenized for tokenized, _ in kept),
            examples=tuple(part for _, part in kept),
            drops=tuple(drops),
            num_cut=num_cut,
        )

    def _length(self, sequence: _Sequence) -> tuple[int, int, bool]:
        """Return up to where a sequence is kept, how many replies end by then, and if one breaks.

        A reply that begins beyond ``max_length`` is dropped; one that crosses it is trained on up
        to there, without an end of turn it does not have, or dropped if "drop" says so.
        """
        mask = sequence.mask[: self.max_length]
        length = len(mask) - next((i for i, bit in enumerate(reversed(mask)) if bit), len(mask))
        whole = [end for end in sequence.ends if end <= length]
        is_broken = bool(length) and length not in sequence.ends
        if is_broken and self.truncation == "drop":
            return max(whole, default=0), len(whole), False
        return length, len(whole), is_broken


def _append(sequences: list[_Sequence], found: WindowPrompt) -> None:
    """Add a turn to the last sequence when its prompt continues that, else to a new one."""
    last = sequences[-1] if sequences else None
    continues = last is not None and found.start == last.start
    if last is None or not continues or found.prompt[: len(last.ids)] != last.ids:
        last = _Sequence(found.messages, found.start)
        sequences.append(last)
    last.messages = found.messages  # a window opened again may reach further
    last.add(found.prompt[len(last.ids) :], 0)
    last.add(found.reply, 1)
    last.end_reply(found.place)


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
