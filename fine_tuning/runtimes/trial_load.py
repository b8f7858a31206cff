"""Loads a model in a child process, which may speak and may die.

llama.cpp says nothing through its API when a load fails, and ends the process on failed
assertions. A child's last words say why; the parent lives on.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from fine_tuning.core.errors import FineTuningError, RuntimeFailedError, UnsupportedModelError
from fine_tuning.runtimes.llama_cpp_file import llama_cpp_file

_CHILD = """
import json, sys, urllib.request, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel, params.port = sys.argv[1], 256, 1, 0
params.warmup, params.verbosity, params.fit_params, params.ui = False, 1, False, False
params.cache_ram_mib = 0
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.chat_template = sys.argv[3]
if sys.argv[2]:
    info = xllamacpp.CommonAdapterLoraInfo()
    info.path, info.scale = sys.argv[2], 1.0
    params.lora_adapters = [info]
server = xllamacpp.Server(params)
body = json.dumps({"prompt": "1", "n_predict": 1, "temperature": 0}).encode()
request = urllib.request.Request(server.listening_address + "/completion", body)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
with opener.open(request) as response:
    assert json.load(response)["tokens_predicted"] == 1
"""
_ERROR = re.compile(r"^[\d.]+ E (?:\S+ +)?[\w ]+: +(.+)$")
_ABORT = re.compile(r"GGML_ASSERT\(.*|terminate called .*")
_GENERIC = ("failed to load model", "error loading model", "failed to apply lora adapter")
_UNSUPPORTED = re.compile(r"arch|unknown|shape|support|lora|GGML_ASSERT|tensor", re.IGNORECASE)


def trial_load(model: Path, adapter: Path | None = None, chat_template: str = "") -> str:
    """Load a model in a child process and let it write one token.

    Args:
        model: A GGUF model.
        adapter: A GGUF LoRA adapter of it.
        chat_template: A Jinja template; "" takes the model's own.

    Returns:
        "" if that works, else llama.cpp's own words for why not.
    """
    files = [str(llama_cpp_file(model)), str(adapter or ""), chat_template]
    command = [sys.executable, "-c", _CHILD, *files]
    child = subprocess.run(  # noqa: S603 - our own interpreter and script
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        env=os.environ | {"GGML_NO_BACKTRACE": "1"},
    )
    if child.returncode == 0:
        return ""
    lines = child.stderr.decode("utf-8", "replace").splitlines()
    aborts = [match[0] for line in lines if (match := _ABORT.search(line))]
    errors = [match[1] for line in lines if (match := _ERROR.match(line))]
    said = aborts or errors
    return _plain(said[0]) if said else f"the process ended with status {child.returncode}"


def _plain(sentence: str) -> str:
    """Drop the general words llama.cpp puts before the reason."""
    for words in _GENERIC:
        head, _, tail = sentence.partition(": ")
        if head.startswith(words) and tail:
            sentence = tail
    return sentence


def explain_failure(
    model: Path, adapter: Path | None = None, chat_template: str = ""
) -> FineTuningError:
    """Return the error that says why llama.cpp refused a model."""
    files = f"{model} with adapter {adapter}" if adapter else str(model)
    files += " and the chat template it was given" if chat_template else ""
    reason = trial_load(model, adapter, chat_template)
    if not reason:
        return RuntimeFailedError(
            f"llama.cpp refused {files} and took it in a second try",
            next_command="close other programs that use much memory, then try again",
        )
    kind = UnsupportedModelError if _UNSUPPORTED.search(reason) else RuntimeFailedError
    return kind(
        f"llama.cpp cannot load {files}: {reason}",
        next_command="fine-tuning doctor, then try another base with --base",
    )
