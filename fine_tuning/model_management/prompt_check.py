"""Is the server's prompt the one trained on? By its own rendering, else by counting tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from fine_tuning.core.conversation import Message
from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonValue
from fine_tuning.core.ports import ServedReply
from fine_tuning.model_management.proof_parts import Cause
from fine_tuning.model_management.reference import Reference
from fine_tuning.model_management.tools_check import ToolsFinding, differs


class Asking(Protocol):
    """What the check needs of a served model."""

    def complete(self, messages: Sequence[Message], max_tokens: int) -> ServedReply:
        """Return a greedy reply."""
        ...

    def rendered(self, messages: Sequence[Message]) -> str | None:
        """Return the server's own rendering, or None when it tells none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptFinding:
    """What was found.

    ``is_certain`` is false when the server showed no prompt, ``is_told`` when it did not even count
    tokens. ``slack_tokens`` is what all prompts may share: some servers do not count tokens that
    were in their cache, so that a lack of so many says nothing.
    """

    cause: Cause = ""
    sentence: str = ""
    is_certain: bool = True
    is_told: bool = True
    slack_tokens: int = 0
    figures: dict[str, JsonValue] = field(default_factory=dict)

    def joined(self, long: PromptFinding, num_tokens: int) -> PromptFinding:
        """Return the finding with that about a long prompt of so many tokens."""
        figures = {**self.figures, "long_prompt_tokens": num_tokens}
        if long.cause:
            # The template was found right on short prompts, so a part of this one is missing.
            return replace(
                long,
                cause="prompt_truncated",
                sentence=f"the server cuts a prompt of {num_tokens} tokens: {long.sentence}",
                figures={**figures, **long.figures},
            )
        sentence = f"{self.sentence}; one of {num_tokens} tokens arrives whole"
        return replace(self, figures=figures, sentence=sentence if self.is_told else self.sentence)

    def with_tools(self, tools: ToolsFinding) -> PromptFinding:
        """Return the finding with that about prompts with tools; one that fails stays as it is."""
        if self.cause or tools.standing == "no tools":
            return self
        figures = {**self.figures, "tools": tools.standing}
        if tools.standing == "not shown":
            return replace(self, figures=figures)
        sentence = tools.sentence if tools.cause else f"{self.sentence}; {tools.sentence}"
        return replace(self, cause=tools.cause, sentence=sentence, figures=figures)


@dataclass(slots=True)
class _Comparison:
    """One conversation: its expected prompt, and what the server said of it."""

    shape: str
    expected: str
    expected_tokens: int
    rendered: str | None = None
    counted: int | None = None

    @property
    def text_differs(self) -> bool:
        return self.rendered is not None and self.rendered != self.expected

    @property
    def is_cut(self) -> bool:
        """Whether the server's text is a part of the expected one."""
        text = self.rendered or ""
        return self.text_differs and len(text) < len(self.expected) and text in self.expected


def check_prompts(
    asking: Asking,
    reference: Reference,
    shapes: Mapping[str, Sequence[Message]],
    *,
    slack: int | None = None,
) -> PromptFinding:
    """Compare the server's prompts with the reference's.

    Args:
        asking: The served model.
        reference: What was trained.
        shapes: Conversations by what they are called in sentences. Shapes the template refuses
            are passed over.
        slack: Tokens a count may lack, given once shorter prompts were found right; None takes
            the length of the shortest prompt.
    """
    compared = []
    for shape, messages in shapes.items():
        try:
            expected = reference.prompt(messages)
        except DataError:
            continue
        comparison = _Comparison(shape, expected, reference.count_tokens(expected))
        # The reply comes first: it tells how long loading took; a rendering loads silently.
        comparison.counted = asking.complete(messages, 1).prompt_tokens
        comparison.rendered = asking.rendered(messages)
        compared.append(comparison)
    is_known = slack is not None
    if slack is None:
        slack = min(comparison.expected_tokens for comparison in compared)
    return replace(_finding(compared, slack, is_known=is_known), slack_tokens=slack)


def _finding(compared: Sequence[_Comparison], slack: int, *, is_known: bool) -> PromptFinding:
    figures: dict[str, JsonValue] = {
        "shapes": [comparison.shape for comparison in compared],
        "rendered": any(comparison.rendered is not None for comparison in compared),
        "expected_tokens": [comparison.expected_tokens for comparison in compared],
        "counted_tokens": [comparison.counted for comparison in compared],
    }
    wrong = (
        _cut_text(compared)
        or _other_text(compared)
        or _cut_count(compared, slack, is_known=is_known)
        or _other_count(compared)
    )
    if wrong is not None:
        return PromptFinding(cause=wrong[0], sentence=wrong[1], figures=figures)
    shapes = ", ".join(comparison.shape for comparison in compared)
    if figures["rendered"]:
        sentence = f"the server's prompts are those trained on ({shapes})"
        return PromptFinding(sentence=sentence, figures=figures)
    is_told = any(comparison.counted is not None for comparison in compared)
    sentence = "could not be checked: this server shows no prompts"
    sentence += (
        f"; they have as many tokens as those trained on ({shapes})"
        if is_told
        else ", nor does it tell their lengths"
    )
    return PromptFinding(sentence=sentence, is_certain=False, is_told=is_told, figures=figures)


def _cut_text(compared: Sequence[_Comparison]) -> tuple[Cause, str] | None:
    for one in compared:
        if one.is_cut:
            return "prompt_truncated", (
                f"of {len(one.expected)} characters the server keeps {len(one.rendered or '')}"
            )
    return None


def _other_text(compared: Sequence[_Comparison]) -> tuple[Cause, str] | None:
    for one in compared:
        if one.text_differs and one.rendered is not None:
            what = f"the server's prompt of {one.shape}"
            return "wrong_template", differs(what, one.rendered, one.expected)
    return None


def _cut_count(
    compared: Sequence[_Comparison], slack: int, *, is_known: bool
) -> tuple[Cause, str] | None:
    """Find a limit: prompts of different lengths counted alike, or far fewer than there are.

    Fewer tokens than expected mean a cut prompt only where the template is known to be right: the
    server showed its text, or shorter prompts had the right lengths.
    """
    counts = [
        (one.expected_tokens, one.counted, is_known or one.rendered is not None)
        for one in compared
        if one.counted is not None
    ]
    lacking = [one for one in counts if one[1] < one[0]]
    most = max((counted for _, counted, _ in counts), default=0)
    at_limit = [one for one in lacking if one[1] == most]
    far = [one for one in lacking if one[2] and one[0] - one[1] > slack]
    if len(set(at_limit)) > 1 or far:
        expected, counted, _ = max(far or at_limit)
        return "prompt_truncated", (f"of a prompt of {expected} tokens the server reads {counted}")
    return None


def _other_count(compared: Sequence[_Comparison]) -> tuple[Cause, str] | None:
    for one in compared:
        if one.rendered is None and one.counted not in {None, one.expected_tokens}:
            return "wrong_template", (
                f"the server reads {one.counted} tokens for {one.shape}, "
                f"trained on {one.expected_tokens}"
            )
    return None
