"""A model store as Ollama lays it out, in both of its layouts, with every fault wanted."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from tests.runtimes.models import model_path

IMAGE = "application/vnd.ollama.image."
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MANIFEST_LIST = "application/vnd.ollama.manifest.list.v2+json"
CONFIG = {"model_format": "gguf", "model_family": "llama", "file_type": "Q4_1"}


class OllamaFolder:
    """Writes blobs and manifests below a root; blobs are shared by content, as in Ollama."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "blobs").mkdir(parents=True)

    def blob(self, content: bytes, *, old_name: bool = False) -> str:
        digest = hashlib.sha256(content).hexdigest()
        (self.root / "blobs" / f"sha256{':' if old_name else '-'}{digest}").write_bytes(content)
        return f"sha256:{digest}"

    def weights(self, *, old_name: bool = False) -> str:
        """Put the real small model in the store, by a link."""
        digest = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
        place = self.root / "blobs" / f"sha256{':' if old_name else '-'}{digest}"
        if not place.exists():
            place.symlink_to(model_path())
        return f"sha256:{digest}"

    def manifest(
        self, layers: dict[str, Any] | None = None, config: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return a manifest; a layer is a digest, a text, or a list of digests."""
        entries = []
        for kind, value in ({"model": self.weights()} if layers is None else layers).items():
            for item in value if isinstance(value, list) else [value]:
                digest = item if item.startswith("sha256") else self.blob(item.encode())
                entries.append({"mediaType": IMAGE + kind, "digest": digest, "size": 1})
        content = json.dumps(CONFIG if config is None else config).encode()
        return {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": "application/json", "digest": self.blob(content), "size": 1},
            "layers": entries,
        }

    def add(
        self,
        name: str,
        manifest: dict[str, Any] | None = None,
        *,
        layout: str = "manifests",
        entry: str = "copy",
    ) -> Path:
        """Register a manifest under ``host/namespace/model/tag``."""
        path = self.root / layout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = json.dumps(self.manifest() if manifest is None else manifest).encode()
        if entry == "copy":
            path.write_bytes(content)
            return path
        blob = self.root / "blobs" / self.blob(content).replace(":", "-")
        if entry == "symlink":
            path.symlink_to(os.path.relpath(blob, path.parent))
        else:
            path.hardlink_to(blob)
        return path
