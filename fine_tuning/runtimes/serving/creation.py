"""Making models over HTTP as Ollama lets one: blobs are uploaded, then named (server/create.go).

The embedded runtime takes adapters, whole GGUF files, and existing models as a base, and templates
of Go's kind as well as of Jinja's.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fine_tuning.core.errors import DataError, DeploymentError, ModelNotFoundError
from fine_tuning.core.json_value import JsonValue
from fine_tuning.core.ports import ModelRecipe
from fine_tuning.runtimes.go_templates.nodes import GoTemplateError
from fine_tuning.runtimes.go_templates.prompts import go_template
from fine_tuning.runtimes.loadable import LoadableModel
from fine_tuning.runtimes.serving.http import NDJSON, HttpError, answer, body_of, ndjson, streamed
from fine_tuning.runtimes.serving.pool import Pool
from fine_tuning.runtimes.serving.requests import Create, read_request

_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/\-]{0,79}")
NOT_HERE = ("modelfile", "path", "quantize", "renderer", "parser")
_GO_WORD = r"\{\{-?\s*(?:\.|\$|(?:if|range|with|end|else|define|block|template)\b)"


class Creation:
    """The routes that make models.

    Args:
        pool: Whose catalog makes them.
    """

    def __init__(self, pool: Pool) -> None:
        self._catalog = pool.catalog
        self._blobs = pool.catalog.blobs

    def routes(self) -> list[Route]:
        """Return all routes."""
        return [
            Route("/api/create", self.create, methods=["POST"]),
            Route("/api/blobs/{digest}", self.has_blob, methods=["HEAD"]),
            Route("/api/blobs/{digest}", self.take_blob, methods=["POST"]),
        ]

    async def has_blob(self, request: Request) -> Response:
        """Say whether a blob is here."""
        is_there = self._place(request.path_params["digest"]).is_file()
        return Response(status_code=200 if is_there else 404)

    async def take_blob(self, request: Request) -> Response:
        """Take a file that a later request names."""
        place = self._place(request.path_params["digest"])
        if place.is_file():
            return Response(status_code=200)
        await asyncio.to_thread(place.parent.mkdir, parents=True, exist_ok=True)
        sha = hashlib.sha256()
        with tempfile.NamedTemporaryFile(dir=place.parent, prefix=".upload-", delete=False) as file:
            beside = Path(file.name)
            try:
                async for chunk in request.stream():
                    sha.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
                _check_digest(place, sha.hexdigest())
                beside.rename(place)
            except BaseException:
                beside.unlink(missing_ok=True)
                raise
        return Response(status_code=201)

    async def create(self, request: Request) -> Response:
        """Make a model."""
        asked = read_request(Create, await body_of(request))
        name = asked.model or asked.name or ""
        if not _NAME.fullmatch(name):
            raise HttpError(400, "invalid model name")
        recipe = await asyncio.to_thread(self._recipe, asked)

        async def lines() -> AsyncIterator[dict[str, JsonValue]]:
            yield {"status": "creating the model"}
            await asyncio.to_thread(self._catalog.create, name, recipe)
            yield {"status": "success"}

        if asked.stream is False:
            await asyncio.to_thread(self._catalog.create, name, recipe)
            return answer({"status": "success"})
        return await streamed(request, lines(), ndjson, NDJSON)

    def _recipe(self, asked: Create) -> ModelRecipe:
        """Return what a request describes.

        Raises:
            DataError: if it describes something that cannot be made here.
        """
        for field in NOT_HERE:
            if getattr(asked, field):
                raise DataError(f"the field {field!r} is not supported here, expected it absent")
        template, go = _templates(asked.template or "")
        adapters = [
            self._file(name, digest, missing=400) for name, digest in (asked.adapters or {}).items()
        ]
        files = [self._file(name, digest) for name, digest in (asked.files or {}).items()]
        if len(adapters) > 1:
            raise DataError("only one adapter is currently supported")
        if bool(asked.from_) == bool(files) or len(files) > 1:
            raise DataError("neither 'from' or 'files' was specified, expected one of them")
        adapter = adapters[0] if adapters else None
        if not asked.from_:
            return ModelRecipe(
                base=str(files[0]),
                adapter=adapter,
                parameters=asked.parameters,
                template=template or None,
                go_template=go,
                system=asked.system,
                messages=_messages(asked),
                license=_license(asked),
            )
        # By name only: a path would let a client read the server's files.
        base = self._base(asked.from_)
        if adapter and base.adapter_path:
            raise DeploymentError(f"{base.name!r} has an adapter already, expected a bare base")
        return ModelRecipe(
            base=str(base.base_path),
            adapter=adapter or base.adapter_path,
            parameters={**base.parameters, **(asked.parameters or {})},
            template=template or ("" if go else base.template) or None,
            go_template=go or ("" if template else base.go_template),
            system=base.system if asked.system is None else asked.system,
            messages=base.messages if asked.messages is None else _messages(asked),
            license=_license(asked) or base.license,
        )

    def _base(self, name: str) -> LoadableModel:
        try:
            return self._catalog.find(name)
        except ModelNotFoundError as error:
            # As Ollama, which tries to pull it.
            raise HttpError(500, "pull model manifest: file does not exist") from error

    def _file(self, name: str, digest: str, *, missing: int = 500) -> Path:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not name or "\\" in name:
            raise DataError(f"file path must be relative: {name}")
        place = self._place(digest)
        if not place.is_file():
            raise HttpError(missing, f"open {place.name}: no such file or directory ({name})")
        return place

    def _place(self, digest: str) -> Path:
        if not (found := _DIGEST.fullmatch(digest)):
            raise HttpError(400, "invalid digest format")
        return self._blobs / f"sha256-{found[1]}"


def _templates(text: str) -> tuple[str, str]:
    """Return a template as one of Jinja's and as one of Go's; the one it is not is "".

    Raises:
        HttpError: if it is one of Go's and does not parse.
    """
    if not text or "{%" in text:
        return text, ""
    try:
        go_template(text)
    except GoTemplateError as error:
        if re.search(r"\{\{-?\s*\w", text) and not re.search(_GO_WORD, text):
            return text, ""  # Jinja without statements
        raise HttpError(400, f"template error: {error.message}") from error
    return "", text


def _messages(asked: Create) -> tuple[tuple[str, str], ...]:
    return tuple(
        (str(message.get("role") or "user"), str(message.get("content") or ""))
        for message in asked.messages or ()
    )


def _license(asked: Create) -> str:
    given = asked.license or ""
    return given if isinstance(given, str) else "\n".join(given)


def _check_digest(place: Path, found: str) -> None:
    if place.name != f"sha256-{found}":
        expected = place.name.replace("-", ":")
        raise HttpError(400, f"digest mismatch, expected {expected}, got sha256:{found}")
