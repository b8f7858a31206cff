"""Says in Ollama's Go templates what a model's Jinja template says, learnt from its renderings.

Ollama before 0.30 does not know Jinja and puts the bare prompt before a model without a Go template
(ollama: server/images.go, template/template.go). Nothing is translated: four conversations are
rendered, the texts between the messages are read off, and five others must come out the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fine_tuning.core.conversation import Conversation, Message, Role
from fine_tuning.core.errors import DataError

Render = Callable[[Sequence[Message]], str]
"""Messages that end with a user's to the prompt of the next reply."""

Turn = tuple[Role, str]
_SYSTEM, _FIRST, _REPLY, _SECOND = (f"\u2063{word}\u2063" for word in ("s", "u", "a", "v"))
_SAID = ("Hello there.", "Good day! 1 + 1 = 2.", "And <b>then</b>?", "Then {x}.", "Thanks, bye.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnTexts:
    """What a template writes around messages.

    ``head`` begins a conversation without a system message, ``before_system`` and
    ``after_system`` surround one (None when the template refuses it). ``after_user`` stands before
    a reply that is there, ``prompt`` before the one to come, ``after_reply`` before the next user.
    """

    head: str
    before_system: str | None
    after_system: str
    after_user: str
    after_reply: str
    prompt: str

    def render(self, turns: Sequence[Turn]) -> str:
        """Return what Ollama makes of these texts."""
        out = [self.head]
        if turns[0][0] == "system":
            out = [self.before_system or "", turns[0][1], self.after_system]
            turns = turns[1:]
        for index, (role, text) in enumerate(turns):
            is_last = index == len(turns) - 1
            after = self.prompt if is_last else self.after_user
            out += [text, after if role == "user" else self.after_reply]
        return "".join(out)

    def to_go(self) -> str:
        """Return the Go template."""
        begin = _literal(self.head)
        if self.before_system is not None:
            begin = (
                f"{{{{ if .System }}}}{_literal(self.before_system)}{{{{ .System }}}}"
                f"{_literal(self.after_system)}{{{{ else }}}}{begin}{{{{ end }}}}"
            )
        after_user = _literal(self.prompt)
        if self.after_user != self.prompt:
            is_last = "eq (len (slice $.Messages $i)) 1"
            after_user = (
                f"{{{{ if {is_last} }}}}{after_user}{{{{ else }}}}"
                f"{_literal(self.after_user)}{{{{ end }}}}"
            )
        return (
            f"{begin}{{{{ range $i, $_ := .Messages }}}}"
            f'{{{{ if eq .Role "user" }}}}{{{{ .Content }}}}{after_user}'
            f'{{{{ else if eq .Role "assistant" }}}}{{{{ .Content }}}}{_literal(self.after_reply)}'
            "{{ end }}{{ end }}"
        )


def infer_go_template(render: Render) -> str | None:
    """Return a Go template that renders as ``render`` does; None when there is none so simple.

    Tools and thinking are left out; texts a Jinja template trims are not trimmed.
    """
    texts = _texts(render)
    if texts is None:
        return None
    first, reply, second, reply2, third = _SAID
    long: list[Turn] = [("user", first), ("assistant", reply), ("user", second)]
    checks: list[list[Turn]] = [
        [("user", first)],
        long,
        [*long, ("assistant", reply2), ("user", third)],
    ]
    if texts.before_system is not None:
        checks += [[("system", "Be brief."), *turns] for turns in checks[:2]]
    same = all(_rendered(render, turns) == texts.render(turns) for turns in checks)
    return texts.to_go() if same else None


def _texts(render: Render) -> TurnTexts | None:
    short = _between(_rendered(render, [("user", _FIRST)]), [_FIRST])
    turns: list[Turn] = [("user", _FIRST), ("assistant", _REPLY), ("user", _SECOND)]
    long = _between(_rendered(render, turns), [_FIRST, _REPLY, _SECOND])
    if short is None or long is None:
        return None
    after_system = _between(
        _rendered(render, [("system", _SYSTEM), ("user", _FIRST)]), [_SYSTEM, _FIRST]
    )
    return TurnTexts(
        head=short[0],
        before_system=after_system[0] if after_system else None,
        after_system=after_system[1] if after_system else "",
        after_user=long[1],
        after_reply=long[2],
        prompt=short[1],
    )


def _rendered(render: Render, turns: Sequence[Turn]) -> str:
    """Return the prompt, "" when the template refuses these roles."""
    try:
        return render(Conversation.from_turns(tuple(turns)).messages)
    except DataError:
        return ""


def _between(text: str, marks: Sequence[str]) -> list[str] | None:
    """Return the texts before, between and after marks that each occur once, in order."""
    parts: list[str] = []
    for mark in marks:
        head, found, text = text.partition(mark)
        if not found or mark in text:
            return None
        parts.append(head)
    return [*parts, text]


def _literal(text: str) -> str:
    """Return a text as a Go template writes it."""
    return f"{{{{ {json.dumps(text, ensure_ascii=False)} }}}}" if "{{" in text else text
