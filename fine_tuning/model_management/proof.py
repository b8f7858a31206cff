"""Proves that what is served is what was trained: prompt, end of reply, output, speed.

Asks the served model through the port ``ServedModel`` and compares with a ``Reference``, the
trained model computed by the engine. Deploys and undoes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TypeVar

from fine_tuning.core.conversation import Message, Part
from fine_tuning.core.errors import (
    DataError,
    FineTuningError,
    RuntimeFailedError,
    RuntimeUnavailableError,
)
from fine_tuning.core.json_value import JsonValue, number_at
from fine_tuning.core.ports import (
    Progress,
    Sampling,
    ServedModel,
    ServedReply,
    ServedSettings,
)
from fine_tuning.model_management.diagnosis import Answered, diagnose, expected_end
from fine_tuning.model_management.prompt_check import PromptFinding, check_prompts
from fine_tuning.model_management.proof_parts import (
    ENDING,
    OUTPUT,
    PROMPT,
    SETTINGS,
    SPEED,
    Proof,
    ProofPart,
)
from fine_tuning.model_management.reference import Reference
from fine_tuning.model_management.reply_diagnosis import ending_part, output_part
from fine_tuning.model_management.settings_check import settings_part
from fine_tuning.model_management.tools_check import check_tools

MIN_PROMPTS = 16
TOP_LOG_PROBABILITIES = 20
REPLY_TOKENS = 24
# Replies that may run to their end, to see them end.
NUM_WHOLE_REPLIES = 4
WHOLE_REPLY_TOKENS = 160
# Asked for when no reply ended so far, until one does: long replies must be seen to end, too.
NUM_LONG_REPLIES = 3
LONG_REPLY_TOKENS = 640
LONGEST_PROMPT_TOKENS = 1024

Value = TypeVar("Value")


@dataclass(slots=True)
class _Session:
    """The served model as the proof talks to it; remembers why it stopped answering."""

    served: ServedModel
    progress: Progress | None
    total: int
    done: int = 0
    replies: list[ServedReply] = field(default_factory=list)

    def complete(self, messages: Sequence[Message], max_tokens: int) -> ServedReply:
        """Ask for a greedy reply."""
        reply = self.alive(
            lambda: self.served.complete(
                messages,
                Sampling(max_tokens=max_tokens),
                top_log_probabilities=TOP_LOG_PROBABILITIES,
            )
        )
        self.replies.append(reply)
        self.tell()
        return reply

    def rendered(self, messages: Sequence[Message]) -> str | None:
        """Ask for the server's own rendering."""
        return self.alive(lambda: self.served.rendered_prompt(messages))

    def tell(self) -> None:
        """Tell that another request is done."""
        self.done = min(self.done + 1, self.total)
        if self.progress:
            self.progress("proving the served model", self.done, self.total)

    def alive(self, ask: Callable[[], Value]) -> Value:
        """Return what the server answers; one that does not ends the proof."""
        try:
            return ask()
        except (RuntimeUnavailableError, RuntimeFailedError) as error:
            raise _SilentError(error) from error


@dataclass(frozen=True, slots=True)
class _Terms:
    """What prompts must be like besides those of training."""

    longest_prompt_tokens: int
    base: ServedModel | None
    is_tools_trained: bool


class _SilentError(Exception):
    """The server gave no answer; the cause is the error of the runtime."""

    def __init__(self, error: FineTuningError) -> None:
        super().__init__(error.message)


def prove(  # noqa: PLR0913 - what is proven, by what, and the terms, all named
    served: ServedModel,
    reference: Reference,
    prompts: Sequence[Sequence[Message]],
    *,
    base: ServedModel | None = None,
    prompt_source: str = "",
    is_tools_trained: bool = False,
    longest_prompt_tokens: int = LONGEST_PROMPT_TOKENS,
    settings: ServedSettings | None = None,
    progress: Progress | None = None,
) -> Proof:
    """Prove that a served model is the trained one.

    Args:
        served: The model, as its server serves it.
        reference: The model, as it was trained.
        prompts: Conversations that end before a reply, 16 or more, each with a user's message.
        base: The model's base on the same server, which prompts with tools may be those of.
        prompt_source: Where the prompts are from, for sentences.
        is_tools_trained: Whether conversations with tools were trained on.
        longest_prompt_tokens: The server must take prompts of this length whole.
        settings: The base's settings, which the server must show; None compares none.
        progress: Told after each request.

    Returns:
        The parts ``prompt``, ``ending``, ``output``, ``settings`` and ``speed``. A server that dies
        is a failed part, not an error.

    Raises:
        DataError: if there are fewer than 16 prompts.
    """
    if len(prompts) < MIN_PROMPTS:
        raise DataError(
            f"a proof was given {len(prompts)} prompts, expected {MIN_PROMPTS} or more",
            next_command="record more chats, then: fine-tuning train",
        )
    session = _Session(served, progress, total=len(prompts) + NUM_WHOLE_REPLIES + 1)
    parts: list[ProofPart] = []
    try:
        terms = _Terms(longest_prompt_tokens, base, is_tools_trained)
        parts.append(_prompt_part(session, reference, prompts, terms))
        parts += _reply_parts(session, reference, prompts, parts[0], prompt_source)
        if settings is not None:
            # After the replies: the model is loaded, and its room is told.
            parts.append(settings_part(settings, session.alive(served.settings)))
    except _SilentError as error:
        parts.append(_death(session, prompts, str(error), {part.name for part in parts}))
    parts.append(_speed_part(session))
    return Proof(model=served.name, parts=tuple(parts))


def _death(
    session: _Session, prompts: Sequence[Sequence[Message]], error: str, done: set[str]
) -> ProofPart:
    """Say when a server stopped answering."""
    name = next(part for part in (PROMPT, OUTPUT, SETTINGS) if part not in done)
    return ProofPart(
        name=name,
        outcome="fails",
        cause="server_died",
        sentence=f"the server stopped answering after {len(session.replies)} replies: {error}",
        figures={"num_replies": len(session.replies), "num_prompts": len(prompts)},
    )


def _prompt_part(
    session: _Session,
    reference: Reference,
    prompts: Sequence[Sequence[Message]],
    terms: _Terms,
) -> ProofPart:
    """Compare the server's prompts with those trained on: short, with tools, and a long one."""
    finding = check_prompts(session, reference, conversation_shapes(prompts))
    if not finding.cause:
        base = terms.base.rendered_prompt if terms.base else None
        tools = session.alive(
            lambda: check_tools(
                reference.prompt,
                session.served.rendered_prompt,
                base,
                is_trained=terms.is_tools_trained,
            )
        )
        finding = finding.with_tools(tools)
    if finding.cause or not terms.longest_prompt_tokens:
        return _part_of(finding)
    messages = long_conversation(reference, prompts, terms.longest_prompt_tokens)
    expected = reference.count_tokens(reference.prompt(messages))
    try:
        long = check_prompts(session, reference, {"long": messages}, slack=finding.slack_tokens)
    except _SilentError as error:
        # A dead server stays silent; one that refused the length answers the next request.
        session.complete(prompts[0], 1)
        return ProofPart(
            name=PROMPT,
            outcome="fails",
            cause="prompt_refused",
            sentence=f"the server refuses a prompt of {expected} tokens: {error}",
            figures={**finding.figures, "long_prompt_tokens": expected},
        )
    return _part_of(finding.joined(long, expected))


def _part_of(finding: PromptFinding) -> ProofPart:
    outcome = "fails" if finding.cause else "holds" if finding.is_certain else "cannot tell"
    return ProofPart(
        name=PROMPT,
        outcome=outcome,  # type: ignore[arg-type]
        cause=finding.cause,
        excuse="no prompts shown" if outcome == "cannot tell" else "",
        sentence=finding.sentence,
        figures=finding.figures,
    )


def conversation_shapes(prompts: Sequence[Sequence[Message]]) -> dict[str, tuple[Message, ...]]:
    """Return conversations of one turn, several turns, with a system prompt, with tool calls."""
    one, two, three, four = (_last_text(prompt) for prompt in prompts[:4])
    shapes = {
        "one turn": _turns(("user", one)),
        "several turns": _turns(("user", two), ("assistant", one), ("user", three)),
        "system prompt": _turns(("system", "Answer in one sentence."), ("user", four)),
    }
    calling = next((p for p in prompts if any(m.tool_calls or m.role == "tool" for m in p)), None)
    return shapes | ({"tool calls": tuple(calling)} if calling else {})


def long_conversation(
    reference: Reference, prompts: Sequence[Sequence[Message]], num_tokens: int
) -> tuple[Message, ...]:
    """Return a conversation whose prompt has at least a number of tokens, and few more."""
    texts = [_last_text(prompt) for prompt in reversed(prompts)]
    turns: list[tuple[str, str]] = []
    while True:
        text = texts[len(turns) // 2 % len(texts)]
        messages = _turns(*turns, ("user", text))
        if reference.count_tokens(reference.prompt(messages)) >= num_tokens:
            return messages
        turns += [("user", text), ("assistant", texts[(len(turns) // 2 + 1) % len(texts)])]


def _turns(*turns: tuple[str, str]) -> tuple[Message, ...]:
    return tuple(
        Message(id=str(index), role=role, content=(Part(text=text),))  # type: ignore[arg-type]
        for index, (role, text) in enumerate(turns)
    )


def _last_text(messages: Sequence[Message]) -> str:
    return next(message.text for message in reversed(messages) if message.role == "user")


def _reply_parts(
    session: _Session,
    reference: Reference,
    prompts: Sequence[Sequence[Message]],
    prompt: ProofPart,
    prompt_source: str,
) -> list[ProofPart]:
    """Let the server answer all prompts, and diagnose ends and outputs."""
    if prompt.outcome == "fails":
        sentence = "the prompts are not those trained on, so replies were not compared"
        return [
            ProofPart(name=name, outcome="cannot tell", sentence=sentence)
            for name in (ENDING, OUTPUT)
        ]
    answered = []
    has_ended = 0
    for index, messages in enumerate(prompts):
        is_whole = index < NUM_WHOLE_REPLIES or (index < MIN_PROMPTS // 2 and not has_ended)
        reply = session.complete(messages, WHOLE_REPLY_TOKENS if is_whole else REPLY_TOKENS)
        has_ended += reply.ended
        answered.append(Answered(tuple(messages), reply))
    diagnosis = diagnose(reference, answered)
    output = output_part(answered, diagnosis, prompt_source)
    read = list(diagnosis.best.followed) if diagnosis.best else None
    is_open = not has_ended and all(end is None for end in map(expected_end, answered, read or ()))
    if read is not None and is_open and output.outcome == "holds":
        for index in range(NUM_LONG_REPLIES):
            reply = session.complete(prompts[index], LONG_REPLY_TOKENS)
            answered[index] = Answered(tuple(prompts[index]), reply)
            read[index] = reference.follow(prompts[index], answered[index].text)
            if reply.ended:
                break
    return [ending_part(reference.end_of_turn, answered, read), output]


SHOWN: Mapping[str, tuple[int, str]] = {
    "load_s": (1, "loaded in {:.2f} s"),
    "first_token_s": (1, "first token after {:.2f} s"),
    "tokens_per_s": (1, "{:.1f} tokens/s"),
    "memory_bytes": (1 << 20, "{:,.0f} MiB of memory"),
}
"""How a figure of the server's work is said: what to divide it by, and the words."""


def _speed_part(session: _Session) -> ProofPart:
    """Collect what the server tells about its work."""
    replies = session.replies
    figures: dict[str, JsonValue] = {
        "load_s": max((r.load_s for r in replies if r.load_s is not None), default=None),
        "first_token_s": _median([r.first_token_s for r in replies]),
        "tokens_per_s": _median([r.tokens_per_s for r in replies]),
        "memory_bytes": None,
    }
    try:
        figures["memory_bytes"] = session.served.memory_bytes()
    except FineTuningError as error:
        figures["memory_error"] = error.message
    missing = [name for name, value in figures.items() if value is None]
    if len(missing) == len(figures):
        return ProofPart(
            name=SPEED,
            outcome="cannot tell",
            sentence="the server tells no figures",
            excuse="no figures told",
        )
    words = [
        show.format(value / unit)
        for name, (unit, show) in SHOWN.items()
        if (value := number_at(figures, name)) is not None
    ]
    sentence = ", ".join(words) + (f"; not told: {', '.join(missing)}" if missing else "")
    return ProofPart(name=SPEED, outcome="holds", sentence=sentence, figures=figures)


def _median(values: Sequence[float | None]) -> float | None:
    told = [value for value in values if value is not None]
    return median(told) if told else None
