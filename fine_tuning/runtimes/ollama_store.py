"""Ollama's model store on disk: names, manifests and blobs. Reads only, needs no server.

Knows both manifest layouts: ``manifests/`` (ollama: manifest/paths.go, types/model/name.go) and
the ``manifests-v2/`` of 0.40, whose entries may be lists of one manifest per format. It does not
know what a model is used for.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Self

from fine_tuning.core.errors import ModelNotFoundError, StorageError
from fine_tuning.core.json_value import JsonObject, JsonValue

DEFAULT_HOST, DEFAULT_NAMESPACE, DEFAULT_TAG = "registry.ollama.ai", "library", "latest"
PUBLIC_HOSTS = ("ollama.com", "registry.ollama.ai")
LAYOUTS = ("manifests-v2", "manifests")
MEDIA_PREFIX = "application/vnd.ollama.image."
SYSTEM_ROOT = Path("/usr/share/ollama/.ollama/models")
MAX_JSON_BYTES = 4 << 20
DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,79}")
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_\-]{0,79}")
_HEX = re.compile(r"[0-9a-f]{12,64}")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:\-]{0,349}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OllamaName:
    """A model's full name: ``host/namespace/model:tag``, perhaps with ``@sha256:<64 hex>``.

    The digest is that of the manifest, as 0.40 and later write it behind a name.
    """

    host: str = DEFAULT_HOST
    namespace: str = DEFAULT_NAMESPACE
    model: str
    tag: str = DEFAULT_TAG
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a name as Ollama does: missing parts take their defaults.

        Raises:
            ModelNotFoundError: if the text is not a model name (ollama: types/model/name.go).
        """
        plain, at, digest = text.partition("@")
        head, slash, last = plain.rpartition("/")
        model, _, tag = last.partition(":")
        *rest, namespace = head.split("/") if slash else [DEFAULT_NAMESPACE]
        host = rest[0] if rest else DEFAULT_HOST
        tag = tag if ":" in last else DEFAULT_TAG
        holds = (
            len(rest) <= 1
            and _HOST.fullmatch(host)
            and _NAMESPACE.fullmatch(namespace)
            and _PART.fullmatch(model)
            and _PART.fullmatch(tag)
            and (not at or DIGEST.fullmatch(digest))
        )
        if not holds:
            raise ModelNotFoundError(
                f"{text!r} is not a model name, expected one like 'mistral:7b-instruct-q4_0', "
                "'user/model' or 'hf.co/user/model:Q4_K_M', a .gguf file, or 'embedded'",
                next_command="ollama list",
            )
        digest = digest.replace("-", ":").lower()
        return cls(host=host, namespace=namespace, model=model, tag=tag, digest=digest)

    @property
    def is_public(self) -> bool:
        """Whether the model comes from Ollama's own registry, under either of its names."""
        return self.host.lower() in PUBLIC_HOSTS

    @property
    def is_duplicate(self) -> bool:
        """Whether it is a copy that 0.40 made of another model: ``llamacpp:<digest>``."""
        return self.model.lower() == "llamacpp" and _HEX.fullmatch(self.tag.lower()) is not None

    @property
    def key(self) -> str:
        """The name for comparing: lower case, public hosts alike, without a digest."""
        host = DEFAULT_HOST if self.is_public else self.host
        return f"{host}/{self.namespace}/{self.model}:{self.tag}".lower()

    def __str__(self) -> str:
        """Return the shortest name Ollama understands, tag included."""
        name = f"{self.model}:{self.tag}" + (f"@{self.digest}" if self.digest else "")
        if not self.is_public:
            return f"{self.host}/{self.namespace}/{name}"
        if self.namespace.lower() != DEFAULT_NAMESPACE:
            return f"{self.namespace}/{name}"
        return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One blob of a model: its kind ("model", "template", "params", ...), digest and size."""

    kind: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a name stands for: layers, and the configuration blob's values."""

    name: OllamaName
    path: Path
    root: Path
    layers: tuple[Layer, ...]
    config: JsonObject

    def of_kind(self, kind: str) -> tuple[Layer, ...]:
        """Return the layers of one kind, in order."""
        return tuple(layer for layer in self.layers if layer.kind == kind)

    def text(self, kind: str) -> str:
        """Return a layer's text; "" when the model has none of this kind.

        Raises:
            StorageError: if the blob is missing, too large to be a text, or unreadable.
        """
        found = self.texts(kind)
        return found[-1] if found else ""

    def texts(self, kind: str) -> tuple[str, ...]:
        """Return the texts of all layers of one kind, in order.

        Raises:
            StorageError: as :meth:`text` raises.
        """
        paths = [blob_path(self.root, layer.digest) for layer in self.of_kind(kind)]
        return tuple(_read_small(path).decode("utf-8", "replace") for path in paths)


def store_roots(override: Path | None = None) -> tuple[Path, ...]:
    """Return where Ollama may keep models, likeliest first.

    The server's environment decides, not ours: besides ``OLLAMA_MODELS`` and the user's own
    folder, the one of the Linux service is looked at (ollama: envconfig/config.go, docs/faq.mdx).
    """
    if override is not None:
        return (override,)
    named = os.environ.get("OLLAMA_MODELS", "").strip().strip("\"'")
    own = Path.home() / ".ollama" / "models"
    roots = [*([Path(named)] if named else []), own, SYSTEM_ROOT]
    return tuple(dict.fromkeys(roots))


def manifest_paths(root: Path) -> Iterator[tuple[OllamaName, Path]]:
    """Yield every name of a store and its manifest file; the newer layout comes first.

    Raises:
        PermissionError: if a folder of the store may not be listed.
    """
    seen: set[str] = set()
    for layout in LAYOUTS:
        for parts, path in _leaves(root / layout, 4):
            host, namespace, model, tag = parts
            try:
                name = OllamaName.parse(f"{host.replace('%3A', ':')}/{namespace}/{model}:{tag}")
            except ModelNotFoundError:
                continue  # not one of Ollama's: a stray file in its folder
            if name.key not in seen:
                seen.add(name.key)
                yield name, path


def _leaves(folder: Path, depth: int) -> Iterator[tuple[tuple[str, ...], Path]]:
    """Yield files exactly ``depth`` levels down, with the names on the way."""
    try:
        entries = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if depth == 1:
            if entry.is_file():
                yield (entry.name,), entry
        else:
            for names, path in _leaves(entry, depth - 1):
                yield (entry.name, *names), path


def read_manifest(root: Path, name: OllamaName, path: Path) -> Manifest:
    """Read a manifest and its configuration; of a list, take the GGUF entry.

    Raises:
        StorageError: if a file is missing, unreadable, or not what Ollama writes.
    """
    raw = _read_json(path)
    children = raw.get("manifests")
    if isinstance(children, list):
        raw = _read_json(blob_path(root, _gguf_child(children, path)))
    layers = raw.get("layers")
    if not isinstance(layers, list):
        raise StorageError(f"{path} lists no layers, expected an Ollama manifest")
    config = raw.get("config")
    digest = config.get("digest") if isinstance(config, Mapping) else None
    return Manifest(
        name=name,
        path=path,
        root=root,
        layers=tuple(_layer(item, path) for item in layers),
        config=_read_json(blob_path(root, str(digest))) if digest else {},
    )


def manifest_of_digest(root: Path, digest: str) -> Path | None:
    """Return the manifest of a digest: a blob of 0.40 and later, else the file of its content.

    Raises:
        StorageError: if the digest is not one.
        PermissionError: if a folder of the store may not be listed.
    """
    blob = blob_path(root, digest)
    if blob.is_file():
        return blob
    for _, path in manifest_paths(root):
        if f"sha256:{sha256(_read_small(path)).hexdigest()}" == digest:
            return path
    return None


def _gguf_child(children: Sequence[JsonValue], path: Path) -> str:
    """Return the digest of the list's GGUF manifest, or of its first when none is GGUF."""
    known = [child for child in children if isinstance(child, Mapping) and child.get("digest")]
    if not known:
        raise StorageError(f"{path} is a list without manifests, expected at least one")
    gguf = [child for child in known if child.get("format") == "gguf"]
    return str((gguf or known)[0]["digest"])


def _layer(raw: object, path: Path) -> Layer:
    if not isinstance(raw, Mapping) or not DIGEST.fullmatch(str(raw.get("digest"))):
        raise StorageError(f"{path} holds a layer without a sha256 digest")
    size = raw.get("size")
    return Layer(
        kind=str(raw.get("mediaType", "")).removeprefix(MEDIA_PREFIX),
        digest=str(raw["digest"]).replace("-", ":").lower(),
        size_bytes=size if isinstance(size, int) else 0,
    )


def blob_path(root: Path, digest: str) -> Path:
    """Return a blob's file; old stores wrote ``sha256:`` where now is ``sha256-``.

    Raises:
        StorageError: if the digest is not one, so that no manifest can point outside the store.
    """
    match = DIGEST.fullmatch(str(digest))
    if not match:
        raise StorageError(f"{digest!r} is not a sha256 digest, expected 'sha256:' and 64 digits")
    current = root / "blobs" / f"sha256-{match[1].lower()}"
    old = current.with_name(f"sha256:{match[1].lower()}")
    return old if old.is_file() and not current.is_file() else current


def _read_json(path: Path) -> dict[str, JsonValue]:
    try:
        raw = json.loads(_read_small(path))
    except ValueError as error:
        raise StorageError(f"{path} is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise StorageError(f"{path} holds {type(raw).__name__}, expected a JSON object")
    return raw


def _read_small(path: Path) -> bytes:
    """Read a file that must be small, whatever a hostile store puts in its place."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise StorageError(f"{path} could not be read: {error.strerror}") from error
    if len(content) > MAX_JSON_BYTES:
        raise StorageError(f"{path} is larger than {MAX_JSON_BYTES} bytes, expected a small text")
    return content
