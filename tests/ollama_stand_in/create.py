"""POST /api/create as each generation does it: what it accepts, refuses, and makes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from fine_tuning.core.errors import FineTuningError
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.writer import tensor_from_file, write_gguf
from fine_tuning.runtimes.ollama_store import DIGEST, OllamaName
from tests.ollama_stand_in.generations import Generation
from tests.ollama_stand_in.go_template import GoTemplateError, parse
from tests.ollama_stand_in.modelfile import read_request
from tests.ollama_stand_in.requests import RefusedError
from tests.ollama_stand_in.show import model_size
from tests.ollama_stand_in.store import Store, parse_name

Tell = Callable[[str], None]
Layers = list[tuple[str, str]]
NOT_A_NAME = "invalid model name"
REFUSED = "LoRA adapters are no longer supported"
TEXTS = ("template", "system")
FILE_TYPES = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1",
              15: "Q4_K_M", 18: "Q6_K"}  # fmt: skip


def check_request(generation: Generation, request: Mapping[str, Any]) -> OllamaName:
    """Check what is checked before the first byte is sent; returns the model's name."""
    if generation.api == "structured":
        _check_files(request.get("files") or {})
        if request.get("adapters") and generation.adapters == "refused":
            raise RefusedError(400, REFUSED)
        if "typical_p" in (request.get("parameters") or {}) and generation.adapters == "refused":
            raise RefusedError(
                400, "typical_p is deprecated and cannot be set as a model parameter"
            )
    name = parse_name(request.get("model") or request.get("name"))
    if name is None:
        raise RefusedError(400, NOT_A_NAME)
    if generation.api == "modelfile":
        if not request.get("modelfile") and not request.get("path"):
            raise RefusedError(400, "path or Modelfile are required")
        return name
    _check_files(request.get("adapters") or {})
    if request.get("quantize") and generation.adapters == "refused":
        raise RefusedError(
            400, "create-time quantization is only supported for safetensors imports"
        )
    return name


def _check_files(files: Mapping[str, Any]) -> None:
    for relative, digest in files.items():
        path = PurePosixPath(relative)
        if (
            path.is_absolute()
            or ".." in path.parts
            or not relative
            or re.search(r"[\\:]", relative)
        ):
            raise RefusedError(400, f"file path must be relative: {relative}")
        if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
            raise RefusedError(400, f"invalid digest for {relative}: invalid digest format")


def _licenses(given: Any) -> list[str]:
    """Return the licences of a request: a text or a list of them (server/create.go, setLicense)."""
    texts = [given] if isinstance(given, str) else given or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise RefusedError(400, "json: cannot unmarshal license into Go value of type []string")
    return [text for text in texts if text]


class Creation:
    """One request to make a model; raises RefusedError at whatever a server refuses half-way."""

    def __init__(self, store: Store, generation: Generation, tell: Tell) -> None:
        self.store, self.generation, self.tell = store, generation, tell
        self.layers: Layers = []
        self.config: dict[str, Any] = {}
        self.new: set[str] = set()

    def run(self, name: OllamaName, request: Mapping[str, Any]) -> None:
        fields = (
            self._from_modelfile(str(request["modelfile"]))
            if self.generation.api == "modelfile"
            else dict(request)
        )
        self._begin(fields)
        adapters = fields.get("adapters") or {}
        if len(adapters) > 1:
            raise RefusedError(500, "only one adapter is currently supported")
        for relative, digest in adapters.items():
            self._add_file(relative, digest, as_adapter=True)
        given = {key: fields.get(key) for key in ("renderer", "parser", "requires")}
        self.config |= {key: value for key, value in given.items() if value}
        self._set_texts(fields)
        self._set_parameters(fields.get("parameters") or {})
        if fields.get("messages"):
            self._replace("messages", json.dumps(fields["messages"]))
        for text in _licenses(fields.get("license")):
            self.layers.append(("license", self._add_text(text)))
        for kind, digest in self.layers:
            word = "creating new" if digest in self.new else "using existing"
            self.tell(f"{word} layer {digest}")
            if not self.store.blob(digest).exists():
                raise RefusedError(500, f"open blob {digest}: no such file or directory ({kind})")
        self.tell("writing manifest")
        self.store.write(name, self.layers, {"model_format": "gguf", **self.config})

    def _begin(self, fields: Mapping[str, Any]) -> None:
        if fields.get("from"):
            self._inherit(str(fields["from"]))
        elif fields.get("files"):
            for relative, digest in sorted(fields["files"].items()):
                self._add_file(relative, digest, rewrite=self.generation.rewrites_files)
        else:
            raise RefusedError(400, "neither 'from' or 'files' was specified")

    def _from_modelfile(self, text: str) -> dict[str, Any]:
        """Return a Modelfile's content in the words of the newer interface."""
        fields = read_request(text)
        fields["adapters"] = {f"a{n}": self._upload(p) for n, p in enumerate(fields["adapters"])}
        if fields["from"].startswith("@"):
            fields["files"] = {"model": self._upload(fields.pop("from"))}
        return fields

    def _upload(self, reference: str) -> str:
        if not reference.startswith("@") or not DIGEST.fullmatch(reference[1:]):
            raise RefusedError(500, f"open {reference}: no such file or directory")
        return reference[1:]

    def _inherit(self, base: str) -> None:
        name = parse_name(base)
        if name is None:
            raise RefusedError(400, NOT_A_NAME)
        stored = self.store.find(name)
        if stored is None:
            self.tell("pulling manifest")
            raise RefusedError(500, "pull model manifest: file does not exist")
        self.layers = [(layer.kind, layer.digest) for layer in stored.manifest.layers]
        self.config = {**stored.manifest.config, "parent_model": str(name)}

    def _add_file(
        self, relative: str, digest: str, *, rewrite: bool = False, as_adapter: bool = False
    ) -> None:
        path = self.store.blob(digest)
        if not path.exists():
            # What fails at a model's files is a failure, at adapters a bad request.
            status = 400 if as_adapter else 500
            raise RefusedError(status, f"open {path}: no such file or directory")
        with path.open("rb") as blob:
            if blob.read(4) != b"GGUF":
                raise RefusedError(400, "supplied file was not in GGUF format")
        self.tell("parsing GGUF")
        try:
            with GgufFile.open(path) as file:
                kind = file.get("general.type", str, "model")
                architecture = file.get("general.architecture", str, "")
                file_type = FILE_TYPES.get(file.get("general.file_type", int, -1), "unknown")
        except FineTuningError as error:
            raise RefusedError(500, f"invalid GGUF: {error.message}") from error
        is_adapter = kind == "adapter"
        if is_adapter and self.generation.adapters == "refused":
            raise RefusedError(400, f"{REFUSED}: {relative} is a LoRA adapter")
        if rewrite and not is_adapter:
            self.tell("validating GGUF model")
            digest = self._rewrite(path)
        self.layers.append(("adapter" if is_adapter else "model", digest))
        if not is_adapter:
            self.config |= {
                "model_family": architecture,
                "model_families": [architecture],
                "model_type": model_size(path),
                "file_type": file_type,
                # The Go engine names the blob.
                **({} if self.generation.native else {"parent_model": str(path)}),
            }

    def _rewrite(self, path: Path) -> str:
        """Copy a model as llama-quantize COPY does: the same tensors under another digest."""
        beside = self.store.root / "blobs" / "rewritten"
        with GgufFile.open(path) as model:
            metadata = dict(model.typed_metadata)
            metadata.pop("general.quantization_version", None)
            # It also sorts what it writes: the tensors of no layer come first.
            names = sorted(model.tensors, key=lambda name: name.startswith("blk."))
            write_gguf(
                beside,
                {**dict(sorted(metadata.items())), "general.quantization_version": 2},
                [tensor_from_file(model, name) for name in names],
            )
        digest = self.store.add_blob(beside.read_bytes())
        beside.unlink()
        return digest

    def _set_texts(self, fields: Mapping[str, Any]) -> None:
        for kind in TEXTS:
            text = fields.get(kind)
            if not text:
                continue
            if kind == "template":
                try:
                    parse(text)
                except GoTemplateError as error:
                    raise RefusedError(400, f"template error: {error}") from error
                if "{%" in text:
                    raise RefusedError(
                        400, 'template error: template: :1: unexpected "%" in command'
                    )
            self._replace(kind, text)

    def _set_parameters(self, parameters: Mapping[str, Any]) -> None:
        if not parameters:
            return
        old = [digest for kind, digest in self.layers if kind == "params"]
        values = json.loads(self.store.blob(old[-1]).read_bytes()) if old else {}
        self._replace("params", json.dumps({**values, **parameters}))

    def _replace(self, kind: str, text: str) -> None:
        self.layers = [layer for layer in self.layers if layer[0] != kind]
        self.layers.append((kind, self._add_text(text)))

    def _add_text(self, text: str) -> str:
        before = set(self.store.digests())
        digest = self.store.add_blob(text.encode())
        if digest not in before:
            self.new.add(digest)
        return digest
