"""Which prompts a base is trained on: those the user's Ollama sends, as it tells itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from fine_tuning.core.conversation import Conversation, Message
from fine_tuning.core.errors import DataError, FineTuningError
from fine_tuning.core.json_value import JsonObject
from fine_tuning.core.ports import PromptRenderer
from fine_tuning.model_management.tools_check import TOOL, TOOL_NAME
from fine_tuning.runtimes.base_model import BaseModel
from fine_tuning.runtimes.base_prompts import base_prompts
from fine_tuning.runtimes.embedded import EmbeddedServer
from fine_tuning.runtimes.load_check import check_model
from fine_tuning.runtimes.ollama_client import OllamaClient
from fine_tuning.runtimes.ollama_model import OllamaServedModel
from fine_tuning.runtimes.ollama_runtime import OllamaRuntime
from fine_tuning.runtimes.prompt_record import BasePrompts, Write

logger = logging.getLogger(__name__)
ROOM_TOKENS = 256
"""No reply is computed."""

Asked = tuple[Sequence[Message], Sequence[JsonObject]]
_COMPARED: tuple[Asked, ...] = (
    (Conversation.from_turns([("user", "Hello there.")]).messages, ()),
    (
        Conversation.from_turns(
            [("user", "Hello."), ("assistant", "Good day!"), ("user", "How are you?")]
        ).messages,
        (),
    ),
    (Conversation.from_turns([("system", "Answer briefly."), ("user", "Hello.")]).messages, ()),
    (Conversation.from_turns([("user", "How is the weather in Oslo?")]).messages, (TOOL,)),
)


def decided_prompts(
    base: BaseModel, choice: str | None, url: str, *, threads: int | None = None
) -> BasePrompts:
    """Return what writes a base's prompts, with a remark where the user should know.

    Where a base named by a tag has two templates, or its prompts are written inside Ollama, a
    server that answers decides; without one the TEMPLATE does.

    Args:
        base: The base model.
        choice: The user's; see :func:`~fine_tuning.runtimes.base_prompts.base_prompts`.
        url: Where Ollama may answer.
        threads: Compute threads of the embedded runtime; None leaves them to it.

    Raises:
        DataError: if nothing tells what prompts look like.
        FineTuningError: as the embedded runtime raises.
    """
    own = BasePrompts(system=base.system, messages=base.settings.messages)
    refusal: DataError | None = None
    try:
        own = base_prompts(base, choice)
    except DataError as error:
        refusal = error
    has_jinja = check_model(base.path).has_chat_template
    is_open = (own.go and has_jinja) or base.settings.renderer
    if base.source == "ollama" and is_open and not choice:
        with (
            EmbeddedServer(
                base.path, context_tokens=ROOM_TOKENS, threads=threads, prompts=own
            ) as server,
            _answering(url, base) as served,
        ):
            renderers: dict[str, PromptRenderer] = {"go": server.renderer} if own.go else {}
            renderers |= {"jinja": server.jinja_renderer} if has_jinja else {}
            ours = {name: _texts(renderer) for name, renderer in renderers.items()}
        return _decide(base, own, ours, served, refusal)
    if refusal:
        raise refusal
    return own


def with_server(prompts: BasePrompts, base: BaseModel, url: str) -> BasePrompts:
    """Return prompts that a server writes with the way to it, others as they are.

    Args:
        prompts: As they were recorded.
        base: Their base.
        url: Where Ollama may answer.
    """
    if not prompts.asked:
        return prompts
    with _answering(url, base) as served:
        return replace(prompts, write=served.write if served else None)


class _Answers:
    """What a server's prompts for the compared conversations are, and the way to more of them."""

    def __init__(self, model: OllamaServedModel, version: str) -> None:
        self.version = version
        self.texts: list[str | None] = []
        self._model = model
        for messages, tools in _COMPARED:
            try:
                self.texts.append(model.rendered_prompt(messages, tools))
            except FineTuningError:
                self.texts.append(None)

    @property
    def write(self) -> Write:
        """What asks the server for a prompt."""

        def write(messages: Sequence[Message], tools: Sequence[JsonObject]) -> str:
            return self._model.rendered_prompt(messages, tools) or ""

        return write


@contextmanager
def _answering(url: str, base: BaseModel) -> Iterator[_Answers | None]:
    """Yield the prompts of a server that has the base and shows its prompts; None without one."""
    runtime = OllamaRuntime(OllamaClient(url))
    answers: _Answers | None = None
    try:
        version = runtime.facts().version
        if runtime.has(base.name) and runtime.base_digest(base.name) == base.digest():
            model = OllamaServedModel(runtime.client, base.name)
            was_loaded = model.memory_bytes() is not None
            answers = _Answers(model, version)
            if not was_loaded:
                runtime.unload(base.name)
    except FineTuningError as error:
        logger.info("Ollama was not asked for the prompts of %s: %s", base.name, error.message)
    is_telling = answers is not None and bool(answers.texts[0])
    if not is_telling:
        runtime.client.close()
    yield answers if is_telling else None


def _decide(
    base: BaseModel,
    own: BasePrompts,
    ours: Mapping[str, Sequence[str | None]],
    served: _Answers | None,
    refusal: DataError | None,
) -> BasePrompts:
    differs = len({tuple(texts) for texts in ours.values()}) > 1
    names = {"go": "Ollama's TEMPLATE", "jinja": "the file's own template"}
    if served is None:
        if refusal:
            raise refusal
        if not differs or own.remark:
            return own
        said = "would write other prompts; with Ollama running it is asked which one it uses"
        return replace(
            own,
            remark=f"{base.name} is trained on the prompts of {names['go']}: {names['jinja']} "
            f"{said}",
        )
    for name, texts in ours.items():
        if _agree(texts, served.texts):
            other = names["jinja" if name == "go" else "go"]
            remark = (
                f"{base.name} is trained on the prompts of {names[name]}, which Ollama "
                f"{served.version} sends; {other} would write other ones"
            )
            return replace(own, go=own.go if name == "go" else "", remark=remark if differs else "")
    return replace(
        own,
        go="",
        asked=base.name,
        write=served.write,
        remark=f"{base.name} is trained on the prompts that Ollama {served.version} writes itself, "
        "which is asked for each",
    )


def _agree(ours: Sequence[str | None], told: Sequence[str | None]) -> bool:
    """Tell whether prompts are the server's, where it shows any."""
    return all(one == other for one, other in zip(ours, told, strict=True) if other is not None)


def _texts(renderer: PromptRenderer) -> list[str | None]:
    texts: list[str | None] = []
    for messages, tools in _COMPARED:
        try:
            texts.append(renderer.render(messages, add_generation_prompt=True, tools=tools))
        except DataError:
            texts.append(None)
    if texts[-1] is not None and TOOL_NAME not in texts[-1]:
        texts[-1] = None
    return texts
