"""Loaded models: one llama-server per base, with all its adapters, within a memory budget.

A request leases a server and a slot of it. Servers that nobody uses are closed, the one unused for
longest first, when another needs the room.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from fine_tuning.core.errors import FineTuningError
from fine_tuning.core.json_value import number_at
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.runtimes.embedded import EMBEDDED_TOKENS, EmbeddedServer
from fine_tuning.runtimes.loadable import LoadableModel, ModelCatalog
from fine_tuning.runtimes.serving.llama_stream import LlamaStream
from fine_tuning.runtimes.serving.slots import NONE, Slots

KV_BYTES = 2  # a half float per number of the cache
COMPUTE_BYTES = 64 << 20
FOR_EVER = -1.0
_CLOCK_S = 1e-6


@dataclass(frozen=True, slots=True)
class Key:
    """What models must share to share a server.

    llama-server's embeddings heed no choice of adapter, so that a server which embeds applies the
    one it was loaded with.
    """

    base: Path
    template: str = ""
    embeds: bool = False
    applied: Path | None = None


@dataclass(slots=True, eq=False)
class Engine:
    """A loaded server and what is known of it."""

    key: Key
    server: EmbeddedServer
    adapters: tuple[Path, ...]
    slots: Slots
    stream: LlamaStream
    size_bytes: int
    loaded_s: float
    num_users: int = 0
    used_s: float = 0.0
    is_retired: bool = False
    kept_s: float = FOR_EVER
    timer: asyncio.TimerHandle | None = None

    @property
    def left_s(self) -> float:
        """Seconds until it is closed for being unused; negative when it is not."""
        if self.timer is None or self.timer.cancelled():
            return FOR_EVER
        return max(0.0, self.timer.when() - asyncio.get_running_loop().time())


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to use a slot of a server for one request.

    ``fields`` go into the request's body: the slot, the adapter, and whether what the slot knows
    may be gone on from. ``load_s`` is how long it took to get the server, loading included.
    """

    engine: Engine
    fields: dict[str, object]
    load_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """What a pool may use.

    Args:
        parallel: Conversations answered at the same time, per server.
        context_tokens: Room for each; a model's own ``num_ctx`` is stronger.
        memory_bytes: For weights and caches of all servers together; one is always loaded.
        max_waiting: Requests that may wait for a slot of one server.
        threads: Compute threads per server; None takes the physical cores.
    """

    parallel: int = 4
    context_tokens: int = 4096
    memory_bytes: int = 8 << 30
    max_waiting: int = 512
    threads: int | None = None


@dataclass(slots=True)
class Pool:
    """All loaded servers of one event loop."""

    catalog: ModelCatalog
    limits: PoolLimits
    engines: list[Engine] = field(default_factory=list)
    _loading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _closing: set[asyncio.Task[None]] = field(default_factory=set)

    @asynccontextmanager
    async def lease(
        self,
        model: LoadableModel,
        prompt: str,
        *,
        embeds: bool = False,
        reuse: bool = True,
        room_tokens: int = 0,
    ) -> AsyncIterator[Lease]:
        """Wait for a slot of a model's server, loading it if need be.

        Args:
            model: What to serve.
            prompt: Anything that begins alike for prompts that begin alike.
            embeds: The server that embeds, not the one that replies.
            reuse: Go on from what the slot knows of the prompt; faster, and then a reply may
                differ from one computed anew in a near-tie.
            room_tokens: The room the request asks for, 0 for the usual one. More than a loaded
                server has loads it anew, as far as the model was trained for.

        Raises:
            FineTuningError: if the model cannot be loaded.
            BusyError: if too many requests wait.
        """
        begin_s = time.monotonic()
        engine = await self._engine(model, embeds=embeds, room_tokens=room_tokens)
        load_s = max(time.monotonic() - begin_s, _CLOCK_S)
        engine.num_users += 1
        chosen = None if embeds else model.adapter_path
        adapter = engine.adapters.index(chosen) if chosen else NONE
        try:
            async with engine.slots.place(adapter, prompt) as place:
                fields: dict[str, object] = {} if embeds else {"id_slot": place.index}
                fields["cache_prompt"] = reuse and place.reuses
                if engine.adapters:
                    fields["lora"] = [{"id": adapter, "scale": 1.0}] if adapter != NONE else []
                yield Lease(engine, fields, load_s)
        finally:
            engine.num_users -= 1
            engine.used_s = time.monotonic()
            self._close_if_over(engine)
            self._wind(engine)

    def keep(self, model: LoadableModel, kept_s: float) -> None:
        """Close a model's servers once they were unused for some time.

        Args:
            model: The model.
            kept_s: The time in seconds; negative keeps them.
        """
        for engine in [engine for engine in self.engines if engine.key.base == model.base_path]:
            engine.kept_s = kept_s
            if kept_s == 0:
                self._retire(engine)
            else:
                self._wind(engine)

    async def unload(self, model: LoadableModel) -> None:
        """Close a model's server as soon as nobody uses it."""
        for engine in [engine for engine in self.engines if engine.key.base == model.base_path]:
            self._retire(engine)

    async def close(self) -> None:
        """Close all servers, whoever uses them."""
        for engine in list(self.engines):
            self.engines.remove(engine)
            await _close(engine)
        await asyncio.gather(*self._closing)

    def loaded(self, model: LoadableModel) -> Engine | None:
        """Return the server that can answer for a model, if it is loaded."""
        key = Key(model.base_path, model.template)
        return next((one for one in self.engines if _serves(one, key, model, 0)), None)

    async def _engine(self, model: LoadableModel, *, embeds: bool, room_tokens: int) -> Engine:
        key = Key(model.base_path, model.template, embeds, model.adapter_path if embeds else None)
        room = 0 if embeds else await asyncio.to_thread(self._room, model, room_tokens)
        for engine in self.engines:
            if _serves(engine, key, model, room):
                return engine
        async with self._loading:
            for engine in self.engines:
                if _serves(engine, key, model, room):
                    return engine
            return await self._load(key, model, room)

    def _room(self, model: LoadableModel, wanted_tokens: int) -> int:
        """Return the least room a server must have: the model's, or more if a request asks."""
        usual = int(number_at(model.parameters, "num_ctx") or self.limits.context_tokens)
        if wanted_tokens <= usual:
            return usual
        most = trained_context(model.base_path)
        return max(usual, min(wanted_tokens, most) if most else wanted_tokens)

    async def _load(self, key: Key, model: LoadableModel, room: int) -> Engine:
        """Load a base with all adapters the catalog has for it."""
        adapters = () if key.embeds else await asyncio.to_thread(self._adapters_of, key, model)
        count = 1 if key.embeds else self.limits.parallel
        context = EMBEDDED_TOKENS if key.embeds else room
        size = await asyncio.to_thread(memory_bytes, key.base, context * count)
        self._make_room(size)
        begin_s = time.monotonic()
        server = await asyncio.to_thread(
            partial(
                EmbeddedServer,
                key.base,
                adapter=key.applied,
                choices=adapters,
                context_tokens=context,
                parallel=count,
                threads=self.limits.threads,
                chat_template=key.template or None,
                embeds=key.embeds,
            )
        )
        engine = Engine(
            key=key,
            server=server,
            adapters=adapters,
            slots=Slots(count, self.limits.max_waiting),
            stream=LlamaStream(server.access),
            size_bytes=size,
            loaded_s=time.monotonic() - begin_s,
            used_s=time.monotonic(),
        )
        # What lacks an adapter that came later answers until there is one that has it.
        for old in [old for old in self.engines if old.key == key]:
            self._retire(old)
        self.engines.append(engine)
        return engine

    def _adapters_of(self, key: Key, model: LoadableModel) -> tuple[Path, ...]:
        """Return the adapters of all models that can share the server, the wanted one's first."""
        found: dict[Path, None] = {}
        for one in (model, *self.catalog.models()):
            if one.adapter_path and (one.base_path, one.template) == (key.base, key.template):
                found.setdefault(one.adapter_path)
        return tuple(found)

    def _make_room(self, size_bytes: int) -> None:
        """Retire unused servers, longest unused first, until another fits."""
        for engine in sorted(self.engines, key=lambda engine: engine.used_s):
            if self._used_bytes() + size_bytes <= self.limits.memory_bytes:
                return
            if not engine.num_users:
                self._retire(engine)

    def _close_if_over(self, engine: Engine) -> None:
        """Close servers that were told to go, or are in the way, once their last user left."""
        if engine.is_retired:
            self._retire(engine)
        elif len(self.engines) > 1:
            self._make_room(0)

    def _wind(self, engine: Engine) -> None:
        """Begin anew to count the time a server is unused."""
        if engine.timer is not None:
            engine.timer.cancel()
            engine.timer = None
        if engine.kept_s >= 0 and not engine.is_retired:
            loop = asyncio.get_running_loop()
            engine.timer = loop.call_later(engine.kept_s, self._expire, engine)

    def _expire(self, engine: Engine) -> None:
        if not engine.num_users:
            self._retire(engine)

    def _retire(self, engine: Engine) -> None:
        engine.is_retired = True
        if engine.timer is not None:
            engine.timer.cancel()
        if not engine.num_users and engine in self.engines:
            self.engines.remove(engine)
            task = asyncio.create_task(_close(engine))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _used_bytes(self) -> int:
        return sum(engine.size_bytes for engine in self.engines)


def _serves(engine: Engine, key: Key, model: LoadableModel, room: int) -> bool:
    has_adapter = key.embeds or not model.adapter_path or model.adapter_path in engine.adapters
    has_room = engine.server.context_tokens >= room
    return engine.key == key and has_adapter and has_room and not engine.is_retired


async def _close(engine: Engine) -> None:
    await engine.stream.close()
    await asyncio.to_thread(engine.server.close)


def trained_context(path: Path) -> int:
    """Return the tokens a model was trained to read at once, 0 when its file does not say.

    Raises:
        FineTuningError: if the file cannot be read.
    """
    with GgufFile.open(path) as file:
        architecture = file.get("general.architecture", str, "")
        return file.get(f"{architecture}.context_length", int, 0)


def memory_bytes(path: Path, context_tokens: int) -> int:
    """Return about how much memory a loaded model takes: weights, cache, scratch.

    Raises:
        FineTuningError: if the file cannot be read.
    """
    size = path.stat().st_size if path.is_file() else 0
    with GgufFile.open(path) as file:
        architecture = file.get("general.architecture", str)

        def number(key: str, default: int) -> int:
            try:
                return file.get(f"{architecture}.{key}", int, default)
            except FineTuningError:  # a list, one number per layer
                return default

        layers, width = number("block_count", 1), number("embedding_length", 1)
        heads = max(1, number("attention.head_count", 1))
        kv_heads = number("attention.head_count_kv", heads)
        d = number("attention.key_length", width // heads)
    return size + 2 * layers * kv_heads * d * KV_BYTES * context_tokens + COMPUTE_BYTES
