"""How one model's turns are written: what surrounds a reply, and the ids of prompt and reply.

Asks the template and the tokenizer once how a turn ends; then gives, for any reply, the ids that
stand before it and the ids to be said. Lengths and masks are not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fine_tuning.core.conversation import Message, Part
from fine_tuning.core.errors import DataError
from fine_tuning.core.ports import PromptRenderer, Tokenizer

NOTHING_BEFORE = "nothing stands before the reply"
REFUSED = "the model cannot read the conversation"
NOT_SHOWN = "the chat template does not show the reply"


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnEnding:
    """How a chat template surrounds a reply.

    ``lead`` is the white space between prompt and reply (Mistral writes a space there), ``end``
    what the model must say to end its turn, and ``trims`` whether replies lose outer white space.
    """

    lead: str
    end: str
    trims: bool


class UnlearnableError(Exception):
    """A reply cannot be learnt for a reason; the text is the detail of the drop."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail)
        self.reason = reason


class ChatTemplate:
    """The turns of one model.

    Args:
        tokenizer: The serving runtime's tokenizer.
        renderer: The serving runtime's template.

    Raises:
        DataError: if the template leaves replies out, or ends them with nothing a model could say.
    """

    def __init__(self, tokenizer: Tokenizer, renderer: PromptRenderer) -> None:
        self.tokenizer = tokenizer
        self.renderer = renderer
        self._has_prefix_space = self._puts_space_first()
        self.ending = self._find_ending()
        """How the template surrounds a reply."""
        (self.end_ids,) = self._continuations([self.ending.end], parse_special=True)
        """The tokens that end a reply; serving stops on the last of them."""

    def prompt_and_reply(
        self, messages: Sequence[Message], target: int
    ) -> tuple[list[int], list[int]]:
        """Return the ids of the prompt before a reply, and of what is to be said after it.

        Raises:
            UnlearnableError: if nothing stands before it, or the model cannot read or show it.
        """
        if target == 0:
            raise UnlearnableError(NOTHING_BEFORE)
        try:
            prompt = self.renderer.render(messages[:target], add_generation_prompt=True)
            if messages[target].tool_calls:
                reply = self._call_ids(messages[: target + 1], prompt)
            else:
                (reply,) = self.replies([messages[target].text])
            prompt_ids = self.tokenizer.encode(prompt, add_special=True, parse_special=True)
        except DataError as error:
            raise UnlearnableError(REFUSED, error.message) from error
        if not prompt_ids:
            raise UnlearnableError(NOTHING_BEFORE)
        return prompt_ids, reply

    def replies(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of replies as the template shows them, each with the end of its turn.

        Special tokens in a reply are read as text: a model that talks about ``<|im_end|>`` must
        not learn to stop there.

        Raises:
            DataError: if a text is not valid Unicode.
        """
        shown = [self.ending.lead + (t.strip() if self.ending.trims else t) for t in texts]
        found = self._continuations(shown, parse_special=False)
        return [[*ids, *self.end_ids] for ids in found]

    @property
    def final_token(self) -> str:
        """The text of the special token that ends every reply; "" if a plain text does."""
        last = self.end_ids[-1]
        return self.tokenizer.decode([last]) if self._is_special(last) else ""

    def _call_ids(self, messages: Sequence[Message], prompt: str) -> list[int]:
        """Return the ids of a turn with tool calls, whose marks are special tokens.

        Only the template knows how calls are written, so the turn is cut out of its rendering.
        """
        whole = self.renderer.render(messages, add_generation_prompt=False)
        said, found, _ = whole.removeprefix(prompt).rpartition(self.ending.end)
        if not found or not whole.startswith(prompt) or not said.strip():
            raise UnlearnableError(NOT_SHOWN)
        (ids,) = self._continuations([said], parse_special=True)
        return [*ids, *self.end_ids]

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

    def _continuations(self, texts: Sequence[str], *, parse_special: bool) -> list[list[int]]:
        """Tokenise texts that follow others: without the dummy prefix a beginning would get."""
        if not self._has_prefix_space:
            return self.tokenizer.encode_many(texts, parse_special=parse_special)
        behind = ["\n", *("\n" + text for text in texts)]
        line, *whole = self.tokenizer.encode_many(behind, parse_special=parse_special)
        return [
            ids[len(line) :]
            if ids[: len(line)] == line
            else self.tokenizer.encode(text, add_special=False, parse_special=parse_special)
            for text, ids in zip(texts, whole, strict=True)
        ]


def _message(role: str, text: str) -> Message:
    return Message(id=role, role=role, content=(Part(text=text),))  # type: ignore[arg-type]


def _common_prefix(one: str, other: str) -> str:
    length = 0
    while length < min(len(one), len(other)) and one[length] == other[length]:
        length += 1
    return one[:length]
