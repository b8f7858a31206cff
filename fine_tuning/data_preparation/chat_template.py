"""How one model's turns are written: what surrounds a reply, and the ids of prompt and reply.

Asks the template and the tokenizer once how a turn ends; then gives, for any reply, the ids that
stand before it and the ids to be said. Lengths and masks are not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fine_tuning.core.conversation import Message
from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject
from fine_tuning.core.ports import PromptRenderer, Tokenizer
from fine_tuning.data_preparation.reply_form import (
    QUESTION,
    REPLY,
    ReplyForm,
    common_length,
    find_reply_form,
    short_message,
)

NOTHING_BEFORE = "nothing stands before the reply"
REFUSED = "the model cannot read the conversation"
NOT_SHOWN = "the chat template does not show the reply"


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnEnding:
    """How a chat template surrounds a reply.

    ``lead`` is the white space between prompt and reply (Mistral writes a space there), ``end``
    what the model must say to end its turn, and ``trims`` whether replies lose outer white space.
    ``form`` says what else is to be said before the reply, such as the end of a thought.
    """

    lead: str
    end: str
    trims: bool
    form: ReplyForm


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
        self._marks: dict[str, tuple[str, str, str]] = {}
        self._mark_ids: dict[str, list[int]] = {}
        self.ending = self._find_ending()
        """How the template surrounds a reply."""
        (self.end_ids,) = self._continuations([self.ending.end], parse_special=True)
        """The tokens that end a reply; serving stops on the last of them."""

    def prompt_and_reply(
        self, messages: Sequence[Message], target: int, tools: Sequence[JsonObject] = ()
    ) -> tuple[list[int], list[int]]:
        """Return the ids of the prompt before a reply, and of what is to be said after it.

        Args:
            messages: The conversation.
            target: The index of the reply.
            tools: The functions the model was offered.

        Raises:
            UnlearnableError: if nothing stands before it, or the model cannot read or show it.
        """
        if target == 0:
            raise UnlearnableError(NOTHING_BEFORE)
        try:
            prompt = self.renderer.render(
                messages[:target], add_generation_prompt=True, tools=tools
            )
            if messages[target].tool_calls:
                reply = self._call_ids(messages[: target + 1], prompt, tools)
            else:
                (reply,) = self.replies([messages[target]])
            prompt_ids = self.tokenizer.encode(prompt, add_special=True, parse_special=True)
        except DataError as error:
            raise UnlearnableError(REFUSED, error.message) from error
        if not prompt_ids:
            raise UnlearnableError(NOTHING_BEFORE)
        return prompt_ids, reply

    def replies(self, messages: Sequence[Message]) -> list[list[int]]:
        """Return the ids of replies as the model must say them, each with the end of its turn.

        Special tokens in a reply are read as text: a model that talks about ``<|im_end|>`` must
        not learn to stop there. Those in the marks around a thought are read as tokens.

        Raises:
            DataError: if a text is not valid Unicode.
        """
        said = [self._pieces(message) for message in messages]
        texts = [text for pieces in said for text, is_token in pieces if not is_token]
        plain = iter(self._continuations(texts, parse_special=False))
        return [
            [
                *(
                    token
                    for text, is_token in pieces
                    for token in (self._ids_of_mark(text) if is_token else next(plain))
                ),
                *self.end_ids,
            ]
            for pieces in said
        ]

    def _pieces(self, message: Message) -> list[tuple[str, bool]]:
        """Return what is said up to the end of a reply: plain texts, and special tokens between.

        What a mark has around its special tokens is tokenised with the text beside it, as a model
        says it.
        """
        text = message.text
        text = self.ending.lead + (text.strip() if self.ending.trims else text)
        pieces: list[tuple[str, bool]] = []
        before = ""
        for part, is_mark in self.ending.form.said(message, text):
            left, tokens, right = self._split_mark(part) if is_mark else (part, "", "")
            before += left
            if tokens:
                pieces += [(before, False)] if before else []
                pieces.append((tokens, True))
                before = right
        return [*pieces, (before, False)] if before else pieces

    def _split_mark(self, mark: str) -> tuple[str, str, str]:
        """Return a mark's text before its first special token, up to its last, and behind it."""
        if mark not in self._marks:
            ids = self.tokenizer.encode(mark, add_special=False, parse_special=True)
            places = [place for place, token in enumerate(ids) if self._is_special(token)]
            text = self.tokenizer.decode(ids[places[0] : places[-1] + 1]) if places else ""
            left, tokens, right = mark.partition(text) if text else (mark, "", "")
            self._marks[mark] = (left, tokens, right)
        return self._marks[mark]

    def _ids_of_mark(self, text: str) -> list[int]:
        if text not in self._mark_ids:
            (self._mark_ids[text],) = self._continuations([text], parse_special=True)
        return self._mark_ids[text]

    @property
    def final_token(self) -> str:
        """The text of the special token that ends every reply; "" if a plain text does."""
        last = self.end_ids[-1]
        return self.tokenizer.decode([last]) if self._is_special(last) else ""

    def _call_ids(
        self, messages: Sequence[Message], prompt: str, tools: Sequence[JsonObject]
    ) -> list[int]:
        """Return the ids of a turn with tool calls, whose marks are special tokens.

        Only the template knows how calls are written, so the turn is cut out of its rendering. A
        thought that the prompt opens and the template hides is closed first.
        """
        form = self.ending.form
        whole = self.renderer.render(messages, add_generation_prompt=False, tools=tools)
        closed = ""
        if not whole.startswith(prompt) and form.opening and prompt.endswith(form.opening):
            prompt = prompt.removesuffix(form.opening)
            closed = "".join(text for text, _ in form.said(messages[-1], ""))
        if tools and not whole.startswith(prompt):
            prompt = self._before_call(messages, whole, tools)
        said, found, _ = whole.removeprefix(prompt).rpartition(self.ending.end)
        if not found or not whole.startswith(prompt) or not said.strip():
            raise UnlearnableError(NOT_SHOWN)
        (ids,) = self._continuations([closed + said], parse_special=True)
        return [*ids, *self.end_ids]

    def _before_call(
        self, messages: Sequence[Message], whole: str, tools: Sequence[JsonObject]
    ) -> str:
        """Return what stands before a call where tools are shown beside the last question only.

        There the past is written in another way than the prompt, and a reply in place of the call
        tells where the call begins.
        """
        replied = (*messages[:-1], short_message("assistant", REPLY))
        other = self.renderer.render(replied, add_generation_prompt=False, tools=tools)
        return whole[: common_length(whole, other.rpartition(REPLY)[0])]

    def _find_ending(self) -> TurnEnding:
        """Find out how the template surrounds a reply, by rendering a small conversation.

        Raises:
            DataError: if the template shows no reply, or ends it with nothing but white space.
        """
        turns = (short_message("user", QUESTION), short_message("assistant", REPLY))
        more = short_message("user", "More")
        prompt = self.renderer.render(turns[:1], add_generation_prompt=True)
        whole = self.renderer.render([*turns, more], add_generation_prompt=False)
        before, found, after = whole.partition(REPLY)
        if not found:
            raise DataError(
                "the chat template leaves replies out of the conversation, expected to find them",
                next_command="choose a chat template that shows every turn, such as chatml",
            )
        lead = before.removeprefix(prompt)
        padded = (turns[0], short_message("assistant", f" {REPLY} "), more)
        trims = f" {REPLY} " not in self.renderer.render(padded, add_generation_prompt=False)
        alone = self.renderer.render(turns, add_generation_prompt=False).partition(REPLY)[2]
        return TurnEnding(
            lead=lead if before.startswith(prompt) and not lead.strip() else "",
            end=self._end_of_turn(after, alone),
            trims=trims,
            form=find_reply_form(self.renderer, is_mark=self._is_marked),
        )

    def _end_of_turn(self, before_user: str, at_end: str) -> str:
        """Return what ends a turn, from the text after a reply, with and without a turn to follow.

        What both share belongs to the reply's turn. The end reaches up to the first special token
        in it; the text behind that (a newline) is context. A template without special tokens ends
        a turn with text, which serving stops on. Where nothing is shared, the next turn's first
        special token ends the reply (ChatGLM's ``<|user|>``).
        """
        shared = before_user[: common_length(before_user, at_end)]
        # gpt-oss ends the last turn with another special token than those of the past; where a
        # TEMPLATE of Ollama's writes no end, the model says its end of sequence.
        last = self._up_to_special(at_end) if self._begins_special(at_end) else ""
        end = (
            self._up_to_special(shared)
            or last
            or shared.rstrip()
            or self._up_to_special(before_user)
        )
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

    def _begins_special(self, text: str) -> bool:
        """Tell whether a text begins with a special token."""
        ids = self.tokenizer.encode(text, add_special=False, parse_special=True)
        return bool(ids) and self._is_special(ids[0])

    def _is_marked(self, text: str) -> bool:
        """Tell whether a text begins and ends with special tokens."""
        ids = self.tokenizer.encode(text, add_special=False, parse_special=True)
        return bool(ids) and self._is_special(ids[0]) and self._is_special(ids[-1])

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
