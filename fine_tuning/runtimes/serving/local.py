"""Models of a catalog to talk to in this process: the pool that serves them over HTTP, without it.

An event loop in a thread of its own holds the pool; replies come out of it through queues, so that
many threads may talk at the same time and share servers, slots and adapters.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Generator
from concurrent.futures import CancelledError, Future
from contextlib import aclosing
from typing import Final

from fine_tuning.core.conversation import Messages
from fine_tuning.core.errors import RuntimeFailedError
from fine_tuning.core.json_value import JsonValue
from fine_tuning.core.ports import GREEDY, Sampling
from fine_tuning.runtimes.llama_client import openai_message
from fine_tuning.runtimes.loadable import ModelCatalog
from fine_tuning.runtimes.sampling_options import sampling_options
from fine_tuning.runtimes.serving.asked import Work
from fine_tuning.runtimes.serving.pool import Pool, PoolLimits
from fine_tuning.runtimes.serving.work import ReplyOutcome, reply

Pieces = queue.SimpleQueue[str | None]
"""The texts of a reply as they come; None ends it."""


class LocalModels:
    """A pool of loaded models, for all threads of this process.

    Args:
        catalog: The models.
        limits: What loaded models may use.
    """

    def __init__(self, catalog: ModelCatalog, limits: PoolLimits) -> None:
        self._catalog = catalog
        self._pool = Pool(catalog, limits)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="local models", daemon=True
        )
        self._thread.start()

    def model(self, name: str) -> LocalChatModel:
        """Return a model to talk to; it is loaded when it is first asked something.

        Raises:
            ModelNotFoundError: if there is no such model.
        """
        return LocalChatModel(self, self._catalog.find(name).name)

    def begin(
        self, name: str, messages: Messages, sampling: Sampling, pieces: Pieces
    ) -> Future[None]:
        """Begin a reply; return what is done when it is over, and can be cancelled.

        Args:
            name: The model.
            messages: What it reads.
            sampling: How the reply is drawn.
            pieces: Where its texts are put.

        Raises:
            DataError: if a message holds more than text.
            ModelNotFoundError: if there is no such model.
            RuntimeFailedError: if the models were closed.
        """
        model = self._catalog.find(name)
        options: dict[str, JsonValue] = {
            **sampling_options(sampling),
            "num_predict": sampling.max_tokens,
            # A request's stop texts replace the model's, which must go on ending replies.
            **({"stop": [*model.stop, *sampling.stop]} if sampling.stop else {}),
        }
        turns = [openai_message(message) for message in messages]
        work = Work(model=model, messages=turns, options=options, truncates=False)
        if not self._thread.is_alive():
            raise RuntimeFailedError("the models of this process were closed")
        future = asyncio.run_coroutine_threadsafe(self._stream(work, pieces), self._loop)
        future.add_done_callback(lambda _: pieces.put(None))
        return future

    def close(self) -> None:
        """Unload all models, whoever talks to them, and end the thread."""
        if not self._thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stream(self, work: Work, pieces: Pieces) -> None:
        async with aclosing(reply(self._pool, work, ReplyOutcome())) as stream:
            async for piece in stream:
                if piece.text:
                    pieces.put(piece.text)

    async def _end(self) -> None:
        replies = asyncio.all_tasks() - {asyncio.current_task()}
        for task in replies:
            task.cancel()
        await asyncio.gather(*replies, return_exceptions=True)
        await self._pool.close()


class LocalChatModel:
    """A model one can talk to (core.ports.ChatModel).

    Args:
        models: Where it is loaded.
        name: Its name there.
    """

    def __init__(self, models: LocalModels, name: str) -> None:
        self._models = models
        self.name: Final = name

    def reply(self, messages: Messages, sampling: Sampling = GREEDY) -> Generator[str, None, None]:
        """Stream the assistant's reply.

        Raises:
            DataError: if a message holds more than text.
            ModelNotFoundError: if the model is gone by now.
            RuntimeFailedError: if the prompt is too long, or the model stops half-way.
        """
        pieces: Pieces = queue.SimpleQueue()
        future = self._models.begin(self.name, messages, sampling, pieces)
        try:
            while (text := pieces.get()) is not None:
                yield text
            future.result()
        except CancelledError as error:
            raise RuntimeFailedError("the models of this process were closed") from error
        finally:
            future.cancel()
