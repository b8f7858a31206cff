"""A stand-in of Ollama with the models that the recordings were made with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.ollama_stand_in.server import StandIn
from tests.ollama_stand_in.store import parse_name
from tests.recordings.replay import Exchange, recorded
from tests.runtimes.models import model_path, write_adapter

BASE, EMOJI = "smollm2:135m", "emoji:1"
ENDLESS = ("cli-037",)
"""Drawn at a temperature, as JSON and without a limit: the model may open brackets for ever."""
PARAMETERS = {"stop": ["<|im_start|>", "<|im_end|>"], "temperature": 0.2}
EMOJI_TEMPLATE = "{{ .Prompt }} \N{WATER WAVE}\N{WATER WAVE}\N{WATER WAVE}\N{WATER WAVE}"
"""Lets the model itself go on with emoji, where the recorded one had an adapter."""


@contextmanager
def recorded_server(folder: Path, generation: str, version: str = "") -> Iterator[StandIn]:
    """Yield a server of a generation with the base, and one whose replies are emoji."""
    exchanges = recorded(version or generation)
    shown = next(
        one.told()
        for one in exchanges
        if one.path == "/api/show" and one.status == 200 and BASE in one.request
    )
    with StandIn(folder, generation=generation) as server:
        server.add_model(
            BASE,
            model_path(),
            template=shown["template"],
            system=shown["system"],
            params=json.dumps(PARAMETERS),
        )
        server.add_model(EMOJI, model_path(), template=EMOJI_TEMPLATE, params='{"temperature":0}')
        yield server


def prepared(server: StandIn, folder: Path) -> Callable[[Exchange], Exchange]:
    """Return what is done before an exchange that needs what is not in a recording.

    Uploads: the base under the digest of a merged model, any adapter under that of an adapter.
    """

    def prepare(exchange: Exchange) -> Exchange:
        prefix, size = "/api/blobs/", exchange.request
        if exchange.path.startswith(prefix) and exchange.method == "POST":
            is_model = int(size.strip("<>").split()[0]) > 50_000_000
            blob = server.store.blob(exchange.path.removeprefix(prefix))
            blob.symlink_to(model_path() if is_model else write_adapter(folder / "adapter.gguf"))
        if exchange.client == "deploy" and "reca_smollm2-135m:1-new" in exchange.request:
            name, base = parse_name("reca_smollm2-135m:1-new"), parse_name(BASE)
            assert name is not None
            assert base is not None
            if exchange.method == "POST" and server.store.find(name) is None:
                stored = server.store.find(base)
                assert stored is not None
                server.store.copy(stored, name)
        if exchange.name in ENDLESS:
            asked = {**json.loads(exchange.request), "options": {"num_predict": 40}}
            return replace(exchange, request=json.dumps(asked))
        return exchange

    return prepare
