"""A reply while it is streamed, and what its server says about its end."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass

from fine_tuning.core.ports import ServedReply


@dataclass
class HeardReply:
    """A reply as it is streamed, and why its server broke it off; "" when it did not."""

    reply: Iterable[str]
    broken_off: str = ""

    def pieces(self) -> Generator[str, None, None]:
        """Yield the pieces; runtimes that return the whole reply are listened to."""
        if not isinstance(self.reply, Generator):
            yield from self.reply
            return
        whole: object = yield from self.reply
        if isinstance(whole, ServedReply):
            self.broken_off = whole.broken_off
