"""The stand-in's model store: Ollama's real layout on disk, written as Ollama writes it.

Reading is left to ``fine_tuning.runtimes.ollama_store``, which has tests of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from fine_tuning.core.errors import ModelNotFoundError
from fine_tuning.runtimes.ollama_store import (
    MEDIA_PREFIX,
    Manifest,
    OllamaName,
    blob_path,
    manifest_paths,
    read_manifest,
)

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Stored:
    """A model of the store: its manifest, and the manifest file's own digest."""

    manifest: Manifest
    digest: str
    size_bytes: int
    modified_s: float

    @property
    def name(self) -> str:
        return str(self.manifest.name)

    def path(self, kind: str) -> Path | None:
        layers = self.manifest.of_kind(kind)
        return blob_path(self.manifest.root, layers[-1].digest) if layers else None

    def json(self, kind: str) -> Any:
        text = self.manifest.text(kind)
        return json.loads(text) if text else None


class Store:
    """Blobs and manifests below one root."""

    def __init__(self, root: Path, layout: str) -> None:
        self.root = root
        self.layout = layout
        self.lock = threading.RLock()
        (root / "blobs").mkdir(parents=True, exist_ok=True)

    # Blobs

    def blob(self, digest: str) -> Path:
        return blob_path(self.root, digest)

    def digests(self) -> list[str]:
        """Return the digests of all blobs."""
        return [path.name.replace("-", ":", 1) for path in (self.root / "blobs").iterdir()]

    def add_blob(self, content: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        path = self.blob(digest)
        if not path.exists():
            path.write_bytes(content)
        return digest

    def receive(self, read: Callable[[int], bytes], digest: str) -> str:
        """Write an uploaded blob; returns its real digest, which the caller compares."""
        sha = hashlib.sha256()
        partial = (
            self.root / "blobs" / f"{digest.replace(':', '-')}-partial-{threading.get_ident()}"
        )
        file: BinaryIO
        try:
            with partial.open("wb") as file:
                while chunk := read(CHUNK_BYTES):
                    sha.update(chunk)
                    file.write(chunk)
            found = f"sha256:{sha.hexdigest()}"
            if found == digest:
                partial.replace(self.blob(digest))
            return found
        finally:
            partial.unlink(missing_ok=True)

    def link_blob(self, path: Path) -> str:
        """Put a file into the store without copying it."""
        with path.open("rb") as file:
            digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        if not self.blob(digest).exists():
            self.blob(digest).symlink_to(path)
        return digest

    # Names

    def all(self) -> list[Stored]:
        with self.lock:
            return [self._stored(name, path) for name, path in manifest_paths(self.root)]

    def find(self, name: OllamaName) -> Stored | None:
        with self.lock:
            for known, path in manifest_paths(self.root):
                if known.key == name.key:
                    return self._stored(known, path)
        return None

    def _stored(self, name: OllamaName, path: Path) -> Stored:
        manifest = read_manifest(self.root, name, path)
        content = path.read_bytes()
        return Stored(
            manifest=manifest,
            digest=hashlib.sha256(content).hexdigest(),
            size_bytes=sum(layer.size_bytes for layer in manifest.layers),
            modified_s=path.stat().st_mtime,
        )

    def write(
        self, name: OllamaName, layers: Sequence[tuple[str, str]], config: Mapping[str, Any]
    ) -> None:
        """Write a manifest of (kind, digest) layers; layers only the old one used go away."""
        with self.lock:
            old = self.find(name)
            content = json.dumps(
                {
                    "schemaVersion": 2,
                    "mediaType": MANIFEST_TYPE,
                    "config": self._layer(CONFIG_TYPE, self.add_blob(json.dumps(config).encode())),
                    "layers": [self._layer(MEDIA_PREFIX + kind, digest) for kind, digest in layers],
                }
            ).encode()
            self._place(old.manifest.name if old else name, content)
            if old:
                self._prune(old.manifest)

    def _layer(self, media_type: str, digest: str) -> dict[str, Any]:
        return {
            "mediaType": media_type,
            "digest": digest,
            "size": self.blob(digest).stat().st_size,
        }

    def _entries(self, name: OllamaName) -> list[Path]:
        """Return where a name's manifest may lie, the newer layout first."""
        tail = f"{name.namespace}/{name.model}/{name.tag}"
        hosts = ["ollama.com", "registry.ollama.ai"] if name.is_public else [name.host]
        newer = [self.root / "manifests-v2" / host.replace(":", "%3A") / tail for host in hosts]
        return [*newer, *(self.root / "manifests" / host / tail for host in hosts)]

    def _place(self, name: OllamaName, content: bytes) -> None:
        if self.layout == "manifests-v2":
            digest = self.add_blob(content)
            path = self._entries(name)[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f".{path.name}.new")
            beside.unlink(missing_ok=True)
            beside.symlink_to(os.path.relpath(self.blob(digest), path.parent))
            beside.replace(path)
            return
        path = self.root / "manifests" / name.host / name.namespace / name.model / name.tag
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def copy(self, source: Stored, destination: OllamaName) -> None:
        with self.lock:
            existing = self.find(destination)
            place = existing.manifest.name if existing else destination
            self._place(place, source.manifest.path.read_bytes())

    def delete(self, stored: Stored) -> None:
        with self.lock:
            for path in self._entries(stored.manifest.name):
                path.unlink(missing_ok=True)
            self._prune(stored.manifest)

    def _prune(self, old: Manifest) -> None:
        """Remove the layers of a manifest that is gone, unless another one needs them."""
        needed = {layer.digest for stored in self.all() for layer in stored.manifest.layers}
        for layer in old.layers:
            if layer.digest not in needed:
                self.blob(layer.digest).unlink(missing_ok=True)

    def unreferenced_blobs(self) -> list[str]:
        """Return blobs no manifest names; manifests and configurations of the store count."""
        used: set[str] = set()
        for stored in self.all():
            raw = json.loads(stored.manifest.path.read_bytes())
            used |= {raw["config"]["digest"], *(item["digest"] for item in raw["layers"])}
            used.add(f"sha256:{stored.digest}")
        return sorted(set(self.digests()) - used)


def parse_name(text: object) -> OllamaName | None:
    """Return a valid name, or None."""
    if not isinstance(text, str):
        return None
    try:
        return OllamaName.parse(text)
    except ModelNotFoundError:
        return None
