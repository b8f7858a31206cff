"""``fine-tuning serve`` as a process over a store like Ollama's, with a model as recorded."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.ollama_stand_in.store import Store, parse_name
from tests.runtimes.models import model_path

CHATML = """{{- if .Messages }}
{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ else }}{{ if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}{{ if .Prompt }}<|im_start|>user
{{ .Prompt }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ end }}{{ .Response }}{{ if .Response }}<|im_end|>
{{ end }}"""


def add_model(
    models: Path,
    name: str,
    *,
    path: Path | None = None,
    template: str = CHATML,
    system: str = "",
    parameters: Mapping[str, Any] | None = None,
) -> None:
    """Put a model into a store, as ``ollama create`` leaves it."""
    store = Store(models, "manifests")
    layers = [("model", store.link_blob(path or model_path()))]
    texts = (("template", template), ("system", system), ("params", json.dumps(parameters or {})))
    layers += [(kind, store.add_blob(text.encode())) for kind, text in texts if text]
    config = {"model_format": "gguf", "model_family": "llama", "model_families": ["llama"]}
    parsed = parse_name(name)
    assert parsed is not None
    store.write(parsed, layers, {**config, "model_type": "134M", "file_type": "Q4_1"})


@contextmanager
def served_workspace(home: Path, models: Path, *settings: str) -> Iterator[str]:
    """Serve a workspace; yields the address."""
    command = [sys.executable, "-m", "fine_tuning", "serve", "--home", str(home), "--port", "0"]
    for setting in settings:
        command += ["--set", setting]
    environment = {**os.environ, "OLLAMA_MODELS": str(models), "OMP_NUM_THREADS": "1"}
    log = home.parent / "serve.log"
    with (
        log.open("wb") as file,
        subprocess.Popen(
            command, env=environment, stdout=file, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            for _ in range(600):
                if match := re.search(r"interface at (http://\S+),", log.read_text("utf-8")):
                    break
                try:
                    process.wait(0.1)
                    raise AssertionError(log.read_text("utf-8"))
                except subprocess.TimeoutExpired:
                    continue
            else:
                raise AssertionError("the server did not start")
            yield match[1]
        finally:
            process.terminate()
