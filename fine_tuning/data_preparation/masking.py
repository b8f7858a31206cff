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

from fine_tuning.core.conversation import Message, Part
from fine_tuning.core.errors import ConfigError, DataError
from fine_tuning.core.example import Example, TokenizedExample
from fine_tuning.core.ports import PromptRenderer, Tokenizer
from fine_tuning.data_preparation.formatter import Drop

logger = logging.getLogger(__name__)

DEFAULT_MAX_LENGTH = 2048
IGNORED_LABEL = -100
"""The label of a token that is not learnt: ``ignore_index`` of PyTorch's cross entropy."""

NOTHING_BEFORE = "nothing stands before the reply"
REFUSED = "the model cannot read the conversation"
NOT_TEXT = "a message holds more than text"
NOT_SHOWN = "the chat template does not show the reply"
NO_TARGETS = "nothing to learn"
TOO_LONG = "beyond max_length"

TRUNCATIONS: tuple[str, ...] = ("cut", "drop", "oldest")
"""What becomes of a reply that crosses ``max_length``; see :class:`ExampleTokenizer`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnEnding:
    """How a chat template surrounds a reply.

    ``lead`` is the white space between prompt and reply (Mistral writes a space there), ``end``
    what the model must say to end its turn, and ``trims`` whether replies lose outer white space.
    """

    lead: str
    end: str
    trims: bool


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
        self._has_prefix_space = self._puts_space_first()
        self.ending = self._find_ending()
        """How the template surrounds a reply."""
        self.end_ids = self._continuation(self.ending.end, parse_special=True)
        """The tokens that end a reply; serving stops on the last of them."""

    def tokenize(self, example: Example) -> Tokenization:
        """Return the sequences of an example, and what of it cannot be learnt."""
        drops: list[Drop] = []
        sequences: list[_Sequence] = []
        if not example.targets:
            drops.append(_drop(example, NO_TARGETS, targets=0))
        for place, target in enumerate(example.targets):
            if any(p.type != "text" for m in example.messages[: target + 1] for p in m.content):
                drops.append(_drop(example, NOT_TEXT))
                continue
            try:
                prompt, reply = self._fitting(example.messages, target)
            except _UnlearnableError as error:
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

    def _find_ending(self) -> TurnEnding:
        """Find out how the template surrounds a reply, by rendering a small conversation.

        Raises:
            DataError: if the template shows no reply, or ends it with nothing but white space.
        """
        turns = (_message("user", "Question"), _message("assistant", "Fine"))
        prompt = self.renderer.render(turns[:1], add_generation_prompt=True)
        whole = self.renderer.render(
            [*turns, _message("user", "More")], add_generation_prompt=False
        )
        before, found, after = whole.partition("Fine")
        if not found:
            raise DataError(
                "the chat template leaves replies out of the conversation, expected to find them",
                next_command="choose a chat template that shows every turn, such as chatml",
            )
        lead = before.removeprefix(prompt)
        padded = (turns[0], _message("assistant", " Fine "), _message("user", "More"))
        trims = " Fine " not in self.renderer.render(padded, add_generation_prompt=False)
        alone = self.renderer.render(turns, add_generation_prompt=False).partition("Fine")[2]
        return TurnEnding(
            lead=lead if before.startswith(prompt) and not lead.strip() else "",
            end=self._end_of_turn(after, alone),
            trims=trims,
        )

    def _end_of_turn(self, before_user: str, at_end: str) -> str:
        """Return what ends a turn, from the text after a reply, with and without a turn to follow.

        What both share belongs to the reply's turn. The end reaches up to the first special token
        in it; the text behind that (a newline) is context. A template without special tokens ends
        a turn with text, which serving stops on. Where nothing is shared, the next turn's first
        special token ends the reply (ChatGLM's ``<|user|>``).
        """
        shared = _common_prefix(before_user, at_end)
        end = self._up_to_special(shared) or shared.rstrip() or self._up_to_special(before_user)
        if not end:
            raise DataError(
                "the chat template ends replies with nothing but white space, so a model trained "
                "with it would never stop, expected an end-of-turn token or text",
                next_command="choose a chat template that ends turns, such as chatml",
            )
        return end

    def _up_to_special(self, text: str) -> str:
        """Return a text's beginning up to and with its first special token; "" if it has none."""
        ids = self.tokenizer.encode(text, add_special=False, parse_special=True)
        for index, token in enumerate(ids):
            if self._is_special(token):
                start = self.tokenizer.decode(ids[: index + 1])
                return start if text.startswith(start) else self.tokenizer.decode([token])
        return ""

    def _is_special(self, token: int) -> bool:
        text = self.tokenizer.decode([token])
        as_special = self.tokenizer.encode(text, add_special=False, parse_special=True)
        as_text = self.tokenizer.encode(text, add_special=False, parse_special=False)
        return as_special == [token] and as_text != [token]

    def _puts_space_first(self) -> bool:
        """Tell whether the tokenizer puts a space before any text, as SentencePiece does."""
        line = self.tokenizer.encode("\n", add_special=False, parse_special=False)
        both = self.tokenizer.encode("\na", add_special=False, parse_special=False)
        alone = self.tokenizer.encode("a", add_special=False, parse_special=False)
        return both[: len(line)] == line and both[len(line) :] != alone

    def _continuation(self, text: str, *, parse_special: bool) -> list[int]:
        """Tokenise text that follows other text: without the dummy prefix a beginning would get."""
        if self._has_prefix_space:
            line = self.tokenizer.encode("\n", add_special=False, parse_special=parse_special)
            both = self.tokenizer.encode(
                "\n" + text, add_special=False, parse_special=parse_special
            )
            if both[: len(line)] == line:
                return both[len(line) :]
        return self.tokenizer.encode(text, add_special=False, parse_special=parse_special)

    def _prompt_and_reply(
        self, messages: Sequence[Message], target: int
    ) -> tuple[list[int], list[int]]:
        """Return the ids of the prompt before a target, and of what is to be said after it."""
        if target == 0:
            raise _UnlearnableError(NOTHING_BEFORE)
        try:
            prompt = self.renderer.render(messages[:target], add_generation_prompt=True)
            if messages[target].tool_calls:
                reply = self._call_ids(messages[: target + 1], prompt)
            else:
                reply = self._reply_ids(messages[target].text)
            prompt_ids = self.tokenizer.encode(prompt, add_special=True, parse_special=True)
        except DataError as error:
            raise _UnlearnableError(REFUSED, error.message) from error
        if not prompt_ids:
            raise _UnlearnableError(NOTHING_BEFORE)
        return prompt_ids, [*reply, *self.end_ids]

    def _fitting(self, messages: Sequence[Message], target: int) -> tuple[list[int], list[int]]:
        """Return prompt and reply; with "oldest", without the oldest exchanges that do not fit."""
        whole = prompt, reply = self._prompt_and_reply(messages, target)
        if self.truncation != "oldest" or len(prompt) + len(reply) <= self.max_length:
            return whole
        num_fixed = sum(message.role in {"system", "developer"} for message in messages[:1])
        for start in range(num_fixed + 1, target):
            if messages[start].role != "user":
                continue
            rest = [*messages[:num_fixed], *messages[start : target + 1]]
            prompt, reply = self._prompt_and_reply(rest, len(rest) - 1)
            if len(prompt) + len(reply) <= self.max_length:
                return prompt, reply
        return whole

    def _reply_ids(self, text: str) -> list[int]:
        """Return the ids of a reply as the template shows it, special tokens in it as text."""
        shown = text.strip() if self.ending.trims else text
        return self._continuation(self.ending.lead + shown, parse_special=False)

    def _call_ids(self, messages: Sequence[Message], prompt: str) -> list[int]:
        """Return the ids of a turn with tool calls, whose marks are special tokens.

        Only the template knows how calls are written, so the turn is cut out of its rendering.
        """
        whole = self.renderer.render(messages, add_generation_prompt=False)
        said, found, _ = whole.removeprefix(prompt).rpartition(self.ending.end)
        if not found or not whole.startswith(prompt) or not said.strip():
            raise _UnlearnableError(NOT_SHOWN)
        return self._continuation(said, parse_special=True)

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


class _UnlearnableError(Exception):
    """A target cannot be learnt; the text is the detail of the drop."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail)
        self.reason = reason


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
            "%d parts of conversation %s are not learnt: %s", count, example.conversation_id, reason
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


def _message(role: str, text: str) -> Message:
    return Message(id=role, role=role, content=(Part(text=text),))  # type: ignore[arg-type]


def _common_prefix(one: str, other: str) -> str:
    length = 0
    while length < min(len(one), len(other)) and one[length] == other[length]:
        length += 1
    return one[:length]
