"""Deployment to Ollama: which recipe a version of the server needs, and which template it gets.

The prompt decides: of the templates a model could have, one is taken whose rendering by the server
is the one trained on, with tools, too, where that can be. Servers that show no prompts (before
0.11.5) get the template learnt from training's own renderings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from fine_tuning.core.conversation import Conversation, Message, Role
from fine_tuning.core.errors import DataError, DeploymentError, FineTuningError
from fine_tuning.core.json_value import JsonValue
from fine_tuning.core.ports import Progress, ServedModel
from fine_tuning.gguf.fingerprint import tensor_fingerprint
from fine_tuning.model_management.deploy_strategies import DeployStrategy, Way, deploy_strategies
from fine_tuning.model_management.deployment_target import Deployable, Made
from fine_tuning.model_management.tools_check import check_tools, differs
from fine_tuning.runtimes.go_template import infer_go_template
from fine_tuning.runtimes.ollama_modelfile import Modelfile
from fine_tuning.runtimes.ollama_recipe import (
    DROPPED_PARAMETERS,
    OllamaRecipe,
    local_base,
    recipe_of,
    sent_again,
)
from fine_tuning.runtimes.ollama_runtime import OllamaRuntime

TRAINED = "the TEMPLATE trained on"
LEARNT = "learnt from training's own prompts"
NOT_TOLD = "the server shows no prompts"

_CHECKED: tuple[tuple[tuple[Role, str], ...], ...] = (
    (("user", "Hello there."),),
    (("user", "Hello."), ("assistant", "Good day!"), ("user", "How are you?")),
    (("system", "Answer briefly."), ("user", "Hello.")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _RecipeCandidate:
    """A recipe, and where its template comes from.

    ``copies`` is true where the server gets another copy of a base that it has, ``is_learnt``
    where the template is training's own, or made from its renderings.
    """

    template_reason: str
    recipe: OllamaRecipe
    copies: bool = False
    is_learnt: bool = False


@dataclass(slots=True)
class _Choice:
    """The candidates tried so far: why those were passed over that were, and the best of the rest.

    ``is_last`` tells whether the best is also what the draft is.
    """

    passed_over: list[str]
    best: _RecipeCandidate | None = None
    tools: str = ""
    is_last: bool = False

    def take(self, candidate: _RecipeCandidate, tools: str) -> None:
        """Let the candidate that is the draft now be the best."""
        self.best, self.tools, self.is_last = candidate, tools, True

    def pass_over(self, candidate: _RecipeCandidate, reason: str) -> None:
        """Say why a candidate is not right."""
        self.passed_over.append(f"{candidate.template_reason}: {reason}")


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

    def server(self) -> str:
        """Return the server's version."""
        return f"Ollama {self._runtime.client.version()}"

    def strategies(self, what: Deployable, only: Way | None) -> Sequence[DeployStrategy]:
        """Return the ways to try: an adapter where the server takes one, then a merged file."""
        facts = self._runtime.facts()
        return deploy_strategies(
            takes_adapters=facts.takes_adapters,
            adapters_reason=facts.adapters_reason,
            is_mergeable=what.is_mergeable,
            only=only,
            version=what.version,
        )

    @contextmanager
    def served(self, name: str) -> Iterator[ServedModel]:
        """Open a model that is not loaded, so that loading is timed with the first reply."""
        self._runtime.unload(name)
        yield self._runtime.served(name)

    def base_served(self, what: Deployable) -> ServedModel | None:
        """Return the base under its own name; None where the server has none of these weights."""
        tag = self._tag_of_base(what)
        return self._runtime.served(tag) if tag else None

    def make(
        self, name: str, strategy: DeployStrategy, what: Deployable, progress: Progress | None
    ) -> Made:
        """Make a model with the best template whose prompts are those trained on.

        The best renders tools as training did. Where no tools were trained on, one that treats
        them as the base's own on this server is as good as needed, and no second copy of the base
        is brought to the server to do better.

        Raises:
            DeploymentError: if there is none, the server refuses the model, or it does not load.
            RuntimeUnavailableError: if no server answers.
        """
        choice = self._choose(name, strategy, what, progress)
        if choice.best is None:
            raise DeploymentError(
                f"the server's prompts differ from those {what.version} was trained on, with every "
                f"template it could have: {'; '.join(choice.passed_over)}",
                next_command=f"fine-tuning deploy {what.version} --to embedded",
            )
        if not choice.is_last:
            self._runtime.draft(name, choice.best.recipe, progress)
        return Made(strategy=strategy, decisions=self._decisions(choice.best, choice))

    def _choose(
        self, name: str, strategy: DeployStrategy, what: Deployable, progress: Progress | None
    ) -> _Choice:
        """Try candidates until one renders all prompts as training did."""
        checks = _expected(what)
        learnt = what.go_template or infer_go_template(what.prompt)
        base, choice = self.base_served(what), _Choice([])
        is_told = True
        for candidate in self._candidates(strategy.way, what, learnt, progress):
            is_useless = not is_told and not candidate.is_learnt
            if is_useless or (choice.best and candidate.copies):
                continue
            if not self._drafted(name, candidate, choice, progress):
                continue
            difference = self._difference(name, checks)
            is_told = difference is not None
            if difference:
                choice.pass_over(candidate, difference)
            elif not is_told and learnt and not candidate.is_learnt:
                choice.pass_over(candidate, NOT_TOLD)
            elif not is_told:
                # Nothing can be compared: what is right by construction is taken.
                choice.take(candidate, "could not be checked: " + NOT_TOLD)
                break
            elif self._is_best(name, what, base, choice, candidate):
                break
        return choice

    def _drafted(
        self, name: str, candidate: _RecipeCandidate, choice: _Choice, progress: Progress | None
    ) -> bool:
        """Make the candidate the draft; one that is only tried to do better may fail."""
        choice.is_last = False
        try:
            self._runtime.draft(name, candidate.recipe, progress)
        except DeploymentError as error:
            if choice.best is None:
                raise
            choice.pass_over(candidate, error.message)
            return False
        return True

    def _is_best(
        self,
        name: str,
        what: Deployable,
        base: ServedModel | None,
        choice: _Choice,
        candidate: _RecipeCandidate,
    ) -> bool:
        """Check a candidate by its prompts with tools; true when no other can be better."""
        tools = check_tools(
            what.prompt,
            self._runtime.served(name).rendered_prompt,
            base.rendered_prompt if base else None,
            is_trained=what.is_tools_trained,
        )
        is_best = tools.standing in {"as trained", "no tools", "not shown"}
        if not tools.is_fine:
            choice.pass_over(candidate, tools.sentence)
        elif is_best or choice.best is None:
            choice.take(candidate, tools.sentence)
        return is_best

    def _decisions(self, candidate: _RecipeCandidate, choice: _Choice) -> dict[str, JsonValue]:
        facts = self._runtime.facts()
        return {
            "server": self.server(),
            "interface": facts.interface_reason,
            "adapters": facts.adapters_reason,
            "base": candidate.recipe.base,
            "template": candidate.template_reason,
            "tools": choice.tools,
            "templates passed over": choice.passed_over,
        }

    def _candidates(
        self, way: Way, what: Deployable, learnt: str | None, progress: Progress | None
    ) -> Iterator[_RecipeCandidate]:
        """Yield recipes, the one that changes least first."""
        tag = self._tag_of_base(what)
        settings = self._runtime.settings(tag) if tag else Modelfile(base="")
        added = {
            name: value
            for name, value in (what.settings.parameters or {}).items()
            if name not in {*settings.parameters, *DROPPED_PARAMETERS, "stop"}
        }
        settings = replace(
            settings,
            parameters={**added, **settings.parameters},
            messages=settings.messages or what.messages,
        )
        from_file = self._from_file(way, what, settings, progress)
        own = what.go_template
        templates = {TRAINED: own} if own else _learnt_templates(learnt, settings)
        copies = False
        if tag and way == "adapter":
            copies = True
            # Stop texts replace the base's, which must go on ending replies.
            stops = sent_again(settings, stop=what.stop).parameters if what.stop else {}
            own_parameters = {**added, **({"stop": stops["stop"]} if stops else {})}
            by_name = OllamaRecipe(
                base=tag, adapter=what.adapter, parameters=own_parameters or None
            )
            is_own = bool(own) and settings.template == own
            inherited = f"inherited from {tag}"
            yield _RecipeCandidate(template_reason=inherited, recipe=by_name, is_learnt=is_own)
            if not settings.renderer and not is_own:
                for reason, text in templates.items():
                    recipe = replace(by_name, template=text)
                    yield _RecipeCandidate(template_reason=reason, recipe=recipe, is_learnt=True)
        elif settings.template or settings.renderer:
            yield _RecipeCandidate(
                template_reason=f"sent again as {tag} has it",
                recipe=from_file(),
                is_learnt=bool(own) and settings.template == own,
            )
        plain = replace(from_file(), template=None, renderer="", parser="")
        yield _RecipeCandidate(template_reason="the GGUF's own", recipe=plain, copies=copies)
        for reason, text in templates.items():
            recipe = replace(plain, template=text)
            yield _RecipeCandidate(
                template_reason=reason, recipe=recipe, copies=copies, is_learnt=True
            )

    def _from_file(
        self, way: Way, what: Deployable, settings: Modelfile, progress: Progress | None
    ) -> Callable[[], OllamaRecipe]:
        """Return what makes a recipe from a file, which inherits nothing: all is sent again."""
        known: list[Path] = []

        def recipe() -> OllamaRecipe:
            if not known:
                known.append(what.base_path if way == "adapter" else what.merged(way, progress))
            again = sent_again(settings, system=what.system, stop=what.stop)
            is_adapter = way == "adapter"
            return recipe_of(
                replace(again, base=str(known[0])),
                adapter=what.adapter if is_adapter else None,
                digest=what.base_digest if is_adapter else "",
            )

        return recipe

    def _tag_of_base(self, what: Deployable) -> str:
        """Return the base's name on the server; "" when it has other weights there, or none."""
        if local_base(what.base_name) is not None or not self._runtime.has(what.base_name):
            return ""
        return self._runtime.show(what.base_name).name if self._has_weights(what) else ""

    def _has_weights(self, what: Deployable) -> bool:
        """Tell whether the base's name means its weights on the server.

        Versions that write an uploaded file anew tell another digest: then its tensors decide,
        where the file can be read from here.
        """
        if self._runtime.base_digest(what.base_name) == what.base_digest:
            return True
        shown = Path(self._runtime.settings(what.base_name).base)
        try:
            same = tensor_fingerprint(shown) == tensor_fingerprint(what.base_path)
        except (FineTuningError, OSError, ValueError):
            return False  # not on this machine, or another user's
        return same

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
                return differs("the prompt", found, expected)
        return ""


def _learnt_templates(learnt: str | None, settings: Modelfile) -> dict[str, str]:
    """Return Go templates made from training's renderings, the best first, by what they are.

    What is learnt has no tools; the base's template brings them where it has them.
    """
    if not learnt:
        return {}
    own = settings.template
    has_tools = ".Tools" in own and ".Messages" in own
    both = f"{{{{ if .Tools }}}}{own}{{{{ else }}}}{learnt}{{{{ end }}}}"
    named = {f"{LEARNT}, and the base's own with tools": both} if has_tools else {}
    return {**named, LEARNT: learnt}


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
