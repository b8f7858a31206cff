"""Ollama's routes (ollama: server/routes.go, docs/api.md)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonValue
from fine_tuning.runtimes.go_templates.prompts import go_template
from fine_tuning.runtimes.llama_api import TokenProbability, ToolCallDelta
from fine_tuning.runtimes.loadable import LoadableModel, is_model_name
from fine_tuning.runtimes.ollama_answers import MessagePart, StreamLine
from fine_tuning.runtimes.serving import ollama_forms as forms
from fine_tuning.runtimes.serving.asked import Work
from fine_tuning.runtimes.serving.http import (
    NDJSON,
    HttpError,
    answer,
    body_of,
    ndjson,
    streamed,
    while_connected,
)
from fine_tuning.runtimes.serving.pool import Pool
from fine_tuning.runtimes.serving.requests import (
    ChatRequest,
    Copy,
    Embed,
    GenerateRequest,
    Json,
    ModelRequest,
    ReplyRequest,
    keep_alive_s,
    read_options,
    read_request,
)
from fine_tuning.runtimes.serving.work import (
    ReplyOutcome,
    embed,
    rendered,
    reply,
    text_of_tokens,
    tokens_of_exchange,
)

# The newest of Ollama's interfaces that is spoken here; clients switch features on by it.
SPOKEN_VERSION = "0.34.2"
RUNNING = "Ollama is running"


class OllamaApi:
    """Ollama's routes over a pool of models.

    Args:
        pool: Where models are loaded; its catalog knows their names.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._catalog = pool.catalog

    def routes(self) -> list[Route]:
        """Return all routes."""
        return [
            Route("/", self.root, methods=["GET", "HEAD"]),
            Route("/api/version", self.version, methods=["GET", "HEAD"]),
            Route("/api/tags", self.tags, methods=["GET", "HEAD"]),
            Route("/api/ps", self.ps, methods=["GET", "HEAD"]),
            Route("/api/show", self.show, methods=["POST"]),
            Route("/api/chat", self.chat, methods=["POST"]),
            Route("/api/generate", self.generate, methods=["POST"]),
            Route("/api/embed", self.embed, methods=["POST"]),
            Route("/api/embeddings", self.embeddings, methods=["POST"]),
            Route("/api/copy", self.copy, methods=["POST"]),
            Route("/api/delete", self.delete, methods=["DELETE"]),
            Route("/api/pull", self.no_registry, methods=["POST"]),
            Route("/api/push", self.no_registry, methods=["POST"]),
        ]

    async def root(self, _: Request) -> Response:
        """Say that a server is here."""
        return PlainTextResponse(RUNNING)

    async def version(self, _: Request) -> Response:
        """Tell the version of the interface."""
        return answer({"version": SPOKEN_VERSION})

    async def tags(self, _: Request) -> Response:
        """List all models."""
        models = await asyncio.to_thread(self._catalog.models)
        return answer({"models": await asyncio.to_thread(lambda: [*map(forms.listed, models)])})

    async def ps(self, _: Request) -> Response:
        """List the loaded models."""
        models = await asyncio.to_thread(self._catalog.models)
        loaded = [(model, self._pool.loaded(model)) for model in models]
        return answer({"models": [forms.running(one, at) for one, at in loaded if at is not None]})

    async def show(self, request: Request) -> Response:
        """Tell all about one model."""
        asked = read_request(ModelRequest, await body_of(request))
        model = await self._find(asked.wanted)
        is_verbose = bool(asked.verbose)
        shown = await asyncio.to_thread(partial(forms.shown, model, is_verbose=is_verbose))
        return answer(shown)

    async def copy(self, request: Request) -> Response:
        """Give a model another name."""
        asked = read_request(Copy, await body_of(request))
        await asyncio.to_thread(self._catalog.copy, asked.source, asked.destination)
        return Response(status_code=200)

    async def delete(self, request: Request) -> Response:
        """Remove a model."""
        asked = read_request(ModelRequest, await body_of(request))
        await asyncio.to_thread(self._catalog.delete, asked.wanted)
        return Response(status_code=200)

    async def no_registry(self, request: Request) -> Response:
        """Refuse to load from or to the internet; a model that is here counts as pulled."""
        asked = read_request(ModelRequest, await body_of(request))
        if request.url.path.endswith("pull"):
            await self._find(asked.wanted)
            return answer({"status": "success"})
        raise HttpError(501, "this server loads nothing up, expected a model to stay where it is")

    async def chat(self, request: Request) -> Response:
        """Answer a conversation."""
        asked = read_request(ChatRequest, await body_of(request))
        model = await self._find(asked.model)
        if asked.think and "thinking" not in forms.capabilities(model):
            raise HttpError(400, f'"{asked.model}" does not support thinking')
        if not asked.messages:
            return await self._load_only(model, asked, {"message": _EMPTY_MESSAGE})
        work = Work(
            model=model,
            messages=[forms.message(raw) for raw in asked.messages],
            options=_options(asked.options),
            fields={
                **({"tools": asked.tools} if asked.tools else {}),
                **forms.response_format(asked.format),
                **forms.thinking_fields(asked),
            },
            top_log_probabilities=_top(asked),
            truncates=asked.truncate is not False,
        )
        return await self._reply(request, asked, work, self._chat_lines(asked, work))

    async def generate(self, request: Request) -> Response:
        """Answer a prompt."""
        asked = read_request(GenerateRequest, await body_of(request))
        model = await self._find(asked.model)
        if not asked.prompt:
            return await self._load_only(model, asked, {"response": ""})
        if asked.images:
            raise DataError(forms.NO_IMAGES)
        if asked.suffix and "insert" not in forms.capabilities(model):
            raise HttpError(400, f"{asked.model} does not support insert")
        turns = [{"role": "system", "content": asked.system}] if asked.system else []
        prompt = await self._prompt(model, asked)
        work = Work(
            model=model,
            messages=[] if prompt else [*turns, {"role": "user", "content": asked.prompt}],
            prompt=prompt,
            options=_options(asked.options),
            fields=forms.response_format(asked.format) | forms.thinking_fields(asked),
            top_log_probabilities=_top(asked),
            truncates=asked.truncate is not False,
        )
        return await self._reply(request, asked, work, self._generate_lines(asked, work))

    async def _prompt(self, model: LoadableModel, asked: GenerateRequest) -> str | None:
        """Return the text a request is to be read as, None when the model's template makes it."""
        given = asked.prompt or ""
        if asked.raw:
            return given
        if asked.template:
            template = go_template(asked.template)
            if asked.suffix:
                return template.fill(given, asked.suffix)
            turns = [{"role": "user", "content": given}]
            if system := asked.system or model.system:
                turns.insert(0, {"role": "system", "content": system})
            return template.render(turns)
        if asked.context:
            before = await text_of_tokens(self._pool, model, asked.context)
            turns = [{"role": "user", "content": given}]
            return before + await rendered(self._pool, Work(model=model, messages=turns))
        return None

    async def embed(self, request: Request) -> Response:
        """Embed one text or several."""
        asked = read_request(Embed, await body_of(request))
        outcome = ReplyOutcome()
        kept_s = keep_alive_s(asked.keep_alive)
        texts = [asked.input] if isinstance(asked.input, str) else asked.input or []
        truncates = asked.truncate is not False
        vectors = await self._embedded(request, asked.model, texts, outcome, truncates=truncates)
        if kept_s is not None:
            self._pool.keep(await self._find(asked.model), kept_s)
        return answer(
            {
                "model": asked.model,
                "embeddings": [_shortened(vector, asked.dimensions) for vector in vectors],
                "total_duration": forms.figures(outcome)["total_duration"],
                "load_duration": forms.figures(outcome)["load_duration"],
                "prompt_eval_count": outcome.prompt_tokens,
            }
        )

    async def embeddings(self, request: Request) -> Response:
        """Embed one text, in the older form."""
        asked = read_request(Embed, await body_of(request))
        if asked.prompt is None:
            raise DataError("the request has no field 'prompt', expected a text")
        vectors = await self._embedded(request, asked.model, [asked.prompt], ReplyOutcome())
        return answer({"embedding": vectors[0] if vectors else []})

    async def _embedded(
        self,
        request: Request,
        name: str,
        texts: list[str],
        outcome: ReplyOutcome,
        *,
        truncates: bool = True,
    ) -> list[list[float]]:
        model = await self._find(name)
        if not texts or not any(texts):
            return []
        vectors, outcome.prompt_tokens, outcome.load_s = await while_connected(
            request, embed(self._pool, model, texts, truncates=truncates)
        )
        return vectors

    async def _find(self, name: str) -> LoadableModel:
        if not name:
            raise HttpError(400, "model is required")
        if not is_model_name(name):
            raise HttpError(400, "invalid model name")
        return await asyncio.to_thread(self._catalog.find, name)

    async def _load_only(
        self, model: LoadableModel, asked: ReplyRequest, empty: StreamLine
    ) -> Response:
        """Load or unload a model, as a request without a prompt asks for."""
        kept_s = keep_alive_s(asked.keep_alive)
        unloads = kept_s == 0
        if unloads:
            await self._pool.unload(model)
        else:
            async with self._pool.lease(model, ""):
                pass
            if kept_s is not None:
                self._pool.keep(model, kept_s)
        reason = "unload" if unloads else "load"
        line = {"model": asked.model, "created_at": forms.now(), **empty}
        return answer({**line, "done": True, "done_reason": reason})

    async def _render_only(self, request: Request, asked: ReplyRequest, work: Work) -> Response:
        text = await while_connected(request, rendered(self._pool, work))
        said: dict[str, object] = (
            {"message": {"role": "", "content": ""}}
            if isinstance(asked, ChatRequest)
            else {"response": ""}
        )
        line = {"model": asked.model, "created_at": forms.now(), **said, "done": False}
        return answer({**line, "_debug_info": {"rendered_template": text}})

    async def _reply(
        self,
        request: Request,
        asked: ReplyRequest,
        work: Work,
        lines: AsyncIterator[StreamLine],
    ) -> Response:
        kept_s = keep_alive_s(asked.keep_alive)
        if asked.debug_render_only:
            return await self._render_only(request, asked, work)
        if asked.stream is not False:
            response = await streamed(request, lines, ndjson, NDJSON)
        else:
            response = answer(await while_connected(request, _joined(lines)))
        if kept_s is not None:
            response.background = _Keep(self._pool, work.model, kept_s)  # type: ignore[assignment]
        return response

    async def _chat_lines(self, asked: ChatRequest, work: Work) -> AsyncIterator[StreamLine]:
        outcome = ReplyOutcome()
        deltas: list[ToolCallDelta] = []
        top = _top(asked)
        async for piece in reply(self._pool, work, outcome):
            deltas += list(piece.tool_calls)
            if piece.text or piece.thinking or piece.log_probabilities:
                yield forms.chat_line(asked.model, piece, top)
        message: MessagePart = {**_EMPTY_MESSAGE}
        if deltas:
            message["tool_calls"] = forms.calls(deltas)
        last: StreamLine = {
            "model": asked.model,
            "created_at": forms.now(),
            "message": message,
            **forms.figures(outcome),
        }
        yield last

    async def _generate_lines(
        self, asked: GenerateRequest, work: Work
    ) -> AsyncIterator[StreamLine]:
        outcome, top = ReplyOutcome(), _top(asked)
        said: list[str] = []
        async for piece in reply(self._pool, work, outcome):
            said.append(piece.text)
            yield forms.generate_line(asked.model, piece, top)
        last: StreamLine = {
            "model": asked.model,
            "created_at": forms.now(),
            "response": "",
            **forms.figures(outcome),
        }
        if not asked.raw:
            last["context"] = await tokens_of_exchange(self._pool, work, "".join(said))
        yield last


_EMPTY_MESSAGE: MessagePart = {"role": "assistant", "content": ""}


class _Keep:
    """Says after the answer was sent how long a model stays loaded; 0 closes its server."""

    def __init__(self, pool: Pool, model: LoadableModel, kept_s: float) -> None:
        self._pool, self._model, self._kept_s = pool, model, kept_s

    async def __call__(self) -> None:
        self._pool.keep(self._model, self._kept_s)


async def _joined(lines: AsyncIterator[StreamLine]) -> StreamLine:
    """Return the lines of a stream as the one answer of a request without streaming."""
    whole: StreamLine = {}
    content = thinking = response = ""
    probabilities: list[TokenProbability] = []
    async for line in lines:
        part: MessagePart = line.get("message") or {}
        content += part.get("content") or ""
        thinking += part.get("thinking") or line.get("thinking") or ""
        response += line.get("response") or ""
        probabilities += line.get("logprobs") or ()
        whole = line
    message = whole.get("message")
    if message is not None:
        if content:
            message["content"] = content
        if thinking:
            message["thinking"] = thinking
    else:
        if thinking:
            whole["thinking"] = thinking
        if response:
            whole["response"] = response
    if probabilities:
        whole["logprobs"] = probabilities
    return whole


def _options(options: Json | None) -> dict[str, JsonValue]:
    return read_options(options).model_dump(exclude_none=True) if options else {}


def _top(asked: ReplyRequest) -> int | None:
    return (asked.top_logprobs or 0) if asked.logprobs else None


def _shortened(vector: list[float], dimensions: int | None) -> list[float]:
    """Return the first dimensions of a vector, of length 1 again."""
    if dimensions is None or dimensions >= len(vector):
        return vector
    short = vector[:dimensions]
    length = sum(x * x for x in short) ** 0.5
    return [x / length for x in short] if length else short
