"""Which version answers which session: what a chatbot asks before each reply in an A/B test.

A session is drawn by a hash of its id, so that it meets one version in every process and after
every restart. Growing the share moves only the champion's sessions, shrinking it only the others.
"""

from __future__ import annotations

from dataclasses import dataclass

from fine_tuning.core.naming import unit_interval
from fine_tuning.model_management.registry_file import RegistryFile
from fine_tuning.model_management.switchings import SwitchJournal


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The model to ask for, and the version behind it; ``version`` "" is the base model."""

    model: str
    version: str
    is_challenger: bool


class Router:
    """Routes the sessions of one alias.

    Args:
        file: The registry's file.
        runtime: What the registry calls the runtime.
        alias: The name the chatbot asks for.
    """

    def __init__(self, file: RegistryFile, *, runtime: str, alias: str) -> None:
        self._journal = SwitchJournal(file, runtime)
        self._alias = alias

    def route(self, session_id: str) -> Route:
        """Return which model answers a session now; reads the registry, about 0.1 ms.

        Without a split it is the alias itself, whatever it points at.
        """
        traffic = self._journal.traffic(self._alias)
        if traffic and unit_interval(session_id, salt=traffic.salt) >= 1 - traffic.share:
            return Route(model=traffic.target, version=traffic.version, is_challenger=True)
        now = self._journal.current(self._alias)
        return Route(model=self._alias, version=now.version if now else "", is_challenger=False)
