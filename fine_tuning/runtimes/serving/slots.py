"""Who may use which slot of a llama-server, so that no request continues another model's cache.

llama-server keeps each slot's prompt. It forgets it when a request brings another adapter, and not
when a request brings none (tools/server/server-context.cpp, lora_should_clear_cache): the base
would go on from what an adapter computed. So slots are chosen here, and a prompt is reused only by
the adapter that computed it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fine_tuning.core.errors import RuntimeUnavailableError

NONE = -1


class BusyError(RuntimeUnavailableError):
    """More requests wait than a server lets wait."""


@dataclass(slots=True)
class Slot:
    """A slot: the adapter (an index, -1 for none) and the prompt it saw last."""

    index: int
    adapter: int | None = None
    prompt: str = ""
    used: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """A slot a request may use; ``reuses`` says whether what the slot knows is its own."""

    index: int
    reuses: bool


@dataclass(slots=True)
class Slots:
    """The slots of one server, handed out in the order of asking.

    Args:
        count: How many there are.
        max_waiting: Requests that may wait; more are refused.
    """

    count: int
    max_waiting: int
    num_busy: int = 0
    _free: list[Slot] = field(default_factory=list)
    _waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    _clock: int = 0

    def __post_init__(self) -> None:
        """Make the slots."""
        self._free = [Slot(index) for index in range(self.count)]

    @asynccontextmanager
    async def place(self, adapter: int, prompt: str) -> AsyncIterator[Place]:
        """Wait for a slot; the one that knows most of the prompt is taken.

        Raises:
            BusyError: if too many wait already.
        """
        if not self._free or self._waiting:
            await self._wait()
        slot = max(self._free, key=lambda slot: self._worth(slot, adapter, prompt))
        self._free.remove(slot)
        self.num_busy += 1
        reuses = slot.adapter == adapter
        self._clock += 1
        slot.adapter, slot.prompt, slot.used = adapter, prompt, self._clock
        try:
            yield Place(slot.index, reuses)
        finally:
            self.num_busy -= 1
            self._free.append(slot)
            self._wake()

    async def _wait(self) -> None:
        if len(self._waiting) >= self.max_waiting:
            raise BusyError(
                f"{len(self._waiting)} requests wait already, expected fewer; try again later"
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif not turn.cancelled():
                self._wake()  # The turn came and nobody takes it: the next one's.
            raise

    def _wake(self) -> None:
        while self._waiting and self._free:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    @staticmethod
    def _worth(slot: Slot, adapter: int, prompt: str) -> tuple[int, int]:
        """Prefer the longest prompt in common, then the slot unused for longest."""
        own = slot.adapter == adapter
        shared = _shared(slot.prompt, prompt) if own else NONE
        return shared, -slot.used


def _shared(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
