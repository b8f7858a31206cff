"""What writes a base's prompts: the TEMPLATE its Ollama uses, a Jinja template, or Ollama itself.

For a base named by an Ollama tag that is what the user's server does. A bare file has its own
Jinja template; where it has none, only the user can say what its prompts look like.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fine_tuning.core.errors import DataError
from fine_tuning.runtimes.base_model import BaseModel
from fine_tuning.runtimes.go_templates.nodes import GoTemplateError
from fine_tuning.runtimes.go_templates.prompts import go_template
from fine_tuning.runtimes.load_check import check_model, is_control_token
from fine_tuning.runtimes.ollama_modelfile import NO_TEMPLATE
from fine_tuning.runtimes.prompt_record import CHATML_TEMPLATE, BasePrompts, texts_of

CHATML = "chatml"
CHOOSE = "data_preparation.chat_template"
SET_CHATML = f"fine-tuning prepare --set {CHOOSE}={CHATML}"


def base_prompts(base: BaseModel, choice: str | None = None) -> BasePrompts:
    """Return what writes a base's prompts, as far as files tell.

    Args:
        base: The base model.
        choice: The user's: None leaves it to the base, ``chatml``, or a file of Jinja.

    Raises:
        DataError: if nothing tells, or the chosen file cannot be read.
    """
    settings = base.settings
    own = BasePrompts(
        system=base.system,
        messages=settings.messages,
        stop=texts_of(settings.parameters.get("stop")),
    )
    if choice:
        return replace(own, jinja=chosen_jinja(choice))
    has_jinja = check_model(base.path).has_chat_template
    if settings.renderer:
        return _of_renderer(base, own, has_jinja=has_jinja)
    template = base.template if base.template.strip() != NO_TEMPLATE else ""
    if template:
        try:
            go_template(template)
        except GoTemplateError as error:
            if not has_jinja:
                raise
            said = f"{base.name}'s TEMPLATE cannot be read ({error.message})"
            return replace(own, remark=f"{said}, so the file's own template writes the prompts")
        return replace(own, go=template)
    if not has_jinja:
        raise _without_template(base)
    return own


def legacy_prompts(base: BaseModel) -> BasePrompts:
    """Return what wrote the prompts of runs that do not record it: the file's Jinja, or ChatML.

    Args:
        base: The base model.
    """
    has_own = check_model(base.path).has_chat_template
    return BasePrompts(
        jinja="" if has_own else CHATML_TEMPLATE,
        system=base.system,
        stop=texts_of(base.settings.parameters.get("stop")),
    )


def added_stop(base: BaseModel, end_of_turn: str) -> tuple[str, ...]:
    """Return the text a served version must end replies at besides what its base brings.

    Args:
        base: The base, its prompts decided.
        end_of_turn: What the model was trained to end replies with.
    """
    prompts = base.prompts or legacy_prompts(base)
    end = end_of_turn.strip()
    if prompts.jinja:
        return (end,)  # a template that is not the model's own may end turns with no token
    is_other = bool(prompts.go or prompts.asked)
    if not is_other or not end or end in prompts.stop or is_control_token(base.path, end):
        return ()
    return (end,)


def chosen_jinja(choice: str) -> str:
    """Return the Jinja template a user chose: ``chatml``, or that in a file.

    Args:
        choice: The word, or a path.

    Raises:
        DataError: if the file cannot be read.
    """
    if choice.lower() == CHATML:
        return CHATML_TEMPLATE
    try:
        return Path(choice).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{CHOOSE} is {choice!r}, expected {CHATML} or a readable file with a Jinja template: "
            f"{error}",
            next_command=SET_CHATML,
        ) from error


def _of_renderer(base: BaseModel, own: BasePrompts, *, has_jinja: bool) -> BasePrompts:
    """Return what stands in for a renderer inside Ollama where no server answers."""
    name = base.settings.renderer
    if base.template.strip() not in {"", NO_TEMPLATE}:
        # What Ollama writes is its renderer's; the TEMPLATE is there for older versions.
        said = f"Ollama writes {base.name}'s prompts itself (RENDERER {name}) and does not answer"
        return replace(own, go=base.template, remark=f"{said}: the base's TEMPLATE writes them")
    if has_jinja:
        said = f"Ollama writes {base.name}'s prompts itself (RENDERER {name}) and does not answer"
        return replace(own, remark=f"{said}: the file's own template writes them")
    raise DataError(
        f"Ollama writes {base.name}'s prompts itself (RENDERER {name}), does not answer, and the "
        "file has no template of its own",
        next_command=f"ollama serve, then again; or {SET_CHATML}",
    )


def _without_template(base: BaseModel) -> DataError:
    return DataError(
        f"{base.name} has no chat template, neither a TEMPLATE of Ollama's nor one in its file, so "
        f"nothing says what its prompts look like; {CHOOSE}={CHATML} chooses ChatML",
        next_command=SET_CHATML,
    )
