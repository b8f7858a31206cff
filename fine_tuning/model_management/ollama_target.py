"""Deployment to Ollama: which recipe a version of the server needs, and which template it gets.

The prompt decides: of the templates a model could have, the first is taken whose rendering by the
server is the one trained on. Servers that show no prompts (before 0.11.5) get the template learnt
from training's own renderings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fine_tuning.core.conversation import Conversation, Message, Role
from fine_tuning.core.errors import DataError, DeploymentError, FineTuningError
from fine_tuning.core.ports import Progress, ServedModel
from fine_tuning.model_management.deployment_target import Deployable, Made
from fine_tuning.model_management.ladder import Rung, Way, ladder
from fine_tuning.runtimes.go_template import infer_go_template
from fine_tuning.runtimes.ollama_modelfile import Modelfile
from fine_tuning.runtimes.ollama_recipe import OllamaRecipe, local_base
from fine_tuning.runtimes.ollama_runtime import OllamaRuntime

SHOWN_CHARACTERS = 48
NOT_TOLD = "the server shows no prompts"
# Refused as a model's parameter by 0.34.1 and later.
DROPPED_PARAMETERS = ("typical_p",)

_CHECKED: tuple[tuple[tuple[Role, str], ...], ...] = (
    (("user", "Hello there."),),
    (("user", "Hello."), ("assistant", "Good day!"), ("user", "How are you?")),
    (("system", "Answer briefly."), ("user", "Hello.")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A recipe, and where its template comes from."""

    template_reason: str
    recipe: OllamaRecipe


class OllamaTarget:
    """One Ollama server (model_management.deployment_target.DeploymentTarget).

    Args:
        runtime: The server.
    """

    def __init__(self, runtime: OllamaRuntime) -> None:
        self._runtime = runtime

    @property
    def name(self) -> str:
        """What the registry calls this runtime."""
        return self._runtime.name

    @property
    def runtime(self) -> OllamaRuntime:
        """The runtime."""
        return self._runtime

    def rungs(self, what: Deployable, only: Way | None) -> Sequence[Rung]:
        """Return the ways to try: an adapter where the server takes one, then a merged file."""
        facts = self._runtime.facts()
        return ladder(
            takes_adapters=facts.takes_adapters,
            adapters_reason=facts.adapters_reason,
            is_mergeable=what.is_mergeable,
            only=only,
        )

    @contextmanager
    def served(self, name: str) -> Iterator[ServedModel]:
        """Open a model that is not loaded, so that loading is timed with the first reply."""
        self._runtime.unload(name)
        yield self._runtime.served(name)

    def make(self, name: str, rung: Rung, what: Deployable, progress: Progress | None) -> Made:
        """Make a model with the first template whose prompts are those trained on.

        Raises:
            DeploymentError: if none is, the server refuses the model, or it does not load.
            RuntimeUnavailableError: if no server answers.
        """
        checks, learnt = _expected(what), infer_go_template(what.prompt)
        reasons: list[str] = []
        is_told = True
        for candidate in self._candidates(rung.way, what, learnt, progress):
            is_learnt = learnt is not None and candidate.recipe.template == learnt
            if not is_told and not is_learnt:
                continue
            self._runtime.draft(name, candidate.recipe, progress)
            difference = self._difference(name, checks)
            is_told = difference is not None
            # Where nothing can be compared, what is right by construction is taken.
            if difference == "" or (not is_told and (is_learnt or learnt is None)):
                return Made(rung=rung, decisions=self._decisions(candidate, reasons))
            reasons.append(f"{candidate.template_reason}: {difference or NOT_TOLD}")
        raise DeploymentError(
            f"the server's prompts differ from those {what.version} was trained on, with every "
            f"template it could have: {'; '.join(reasons)}",
            next_command="deploy to the embedded runtime: fine-tuning deploy --to embedded",
        )

    def _decisions(self, candidate: _Candidate, reasons: Sequence[str]) -> dict[str, Any]:
        facts = self._runtime.facts()
        return {
            "server": f"Ollama {facts.version}",
            "interface": facts.interface_reason,
            "adapters": facts.adapters_reason,
            "base": candidate.recipe.base,
            "template": candidate.template_reason,
            "templates passed over": list(reasons),
        }

    def _candidates(
        self, way: Way, what: Deployable, learnt: str | None, progress: Progress | None
    ) -> Iterator[_Candidate]:
        """Yield recipes, the one that changes least first."""
        tag = self._tag_of_base(what)
        settings = self._runtime.settings(tag) if tag else Modelfile(base="")
        from_file = self._from_file(way, what, settings, progress)
        inferred = "learnt from training's own prompts"
        if tag and way == "adapter":
            stop = {"stop": list(what.stop)} if what.stop else None
            by_name = OllamaRecipe(base=tag, adapter=what.adapter, parameters=stop)
            yield _Candidate(template_reason=f"inherited from {tag}", recipe=by_name)
            if learnt and not settings.renderer:
                yield _Candidate(template_reason=inferred, recipe=replace(by_name, template=learnt))
        elif settings.template or settings.renderer:
            yield _Candidate(template_reason=f"sent again as {tag} has it", recipe=from_file())
        plain = replace(from_file(), template=None, renderer="", parser="")
        yield _Candidate(template_reason="the GGUF's own", recipe=plain)
        if learnt:
            yield _Candidate(template_reason=inferred, recipe=replace(plain, template=learnt))

    def _from_file(
        self, way: Way, what: Deployable, settings: Modelfile, progress: Progress | None
    ) -> Callable[[], OllamaRecipe]:
        """Return what makes a recipe from a file, which inherits nothing: all is sent again."""
        known: list[Path] = []

        def recipe() -> OllamaRecipe:
            if not known:
                known.append(what.base_path if way == "adapter" else what.merged(way, progress))
            parameters = {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in settings.parameters.items()
                if key not in DROPPED_PARAMETERS
            }
            if what.stop:
                old = settings.parameters.get("stop", ())
                texts = old if isinstance(old, tuple) else (str(old),)
                parameters["stop"] = list(dict.fromkeys([*texts, *what.stop]))
            return OllamaRecipe(
                base=str(known[0]),
                adapter=what.adapter if way == "adapter" else None,
                base_digest=what.base_digest if way == "adapter" else "",
                template=settings.template or None,
                system=settings.system or what.system or None,
                parameters=parameters or None,
                renderer=settings.renderer,
                parser=settings.parser,
                messages=settings.messages,
            )

        return recipe

    def _tag_of_base(self, what: Deployable) -> str:
        """Return the base's name on the server; "" when it has other weights there, or none."""
        if local_base(what.base_name) is not None or not self._runtime.has(what.base_name):
            return ""
        same = self._runtime.base_digest(what.base_name) == what.base_digest
        return self._runtime.show(what.base_name).name if same else ""

    def _difference(self, name: str, checks: Sequence[tuple[Sequence[Message], str]]) -> str | None:
        """Return where the server's prompt leaves the trained one; "" nowhere, None untold."""
        served = self._runtime.served(name)
        for messages, expected in checks:
            try:
                found = served.rendered_prompt(messages)
            except FineTuningError as error:
                return error.message
            if found is None:
                return None
            if found != expected:
                return _first_difference(found, expected)
        return ""


def _expected(what: Deployable) -> list[tuple[Sequence[Message], str]]:
    """Return conversations with the prompts of training; roles a template refuses are left out."""
    checks: list[tuple[Sequence[Message], str]] = []
    for turns in _CHECKED:
        messages = Conversation.from_turns(turns).messages
        try:
            checks.append((messages, what.prompt(messages)))
        except DataError:
            continue
    return checks


def _first_difference(found: str, expected: str) -> str:
    at = next(
        (i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b),
        min(len(found), len(expected)),
    )
    begin = max(0, at - SHOWN_CHARACTERS // 4)
    shown = [text[begin : begin + SHOWN_CHARACTERS] for text in (found, expected)]
    return f"{shown[0]!r} where training had {shown[1]!r}"
