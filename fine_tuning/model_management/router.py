"""Which version answers which session: what a chatbot asks before each reply.

In an A/B test a session is drawn by a hash of its id, so that it meets one version in every process
and after every restart. Growing the share moves only the champion's sessions, shrinking it only the
others.
"""

from __future__ import annotations

from dataclasses import dataclass

from fine_tuning.core.naming import unit_interval
from fine_tuning.model_management.alias_history import AliasHistory
from fine_tuning.model_management.registry_file import RegistryFile
from fine_tuning.model_management.registry_rows import read_deployments


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The model to ask for, and the version behind it; ``version`` "" is the base model.

    ``is_drawn`` says that the session drew one of two versions.
    """

    model: str
    version: str
    is_challenger: bool = False
    is_drawn: bool = False


class Router:
    """Routes the sessions of one alias.

    Args:
        file: The registry's file.
        runtime: What the registry calls the runtime.
        alias: The name the chatbot asks for.
    """

    def __init__(self, file: RegistryFile, *, runtime: str, alias: str) -> None:
        self._journal = AliasHistory(file, runtime)
        self._alias = alias

    def route(self, session_id: str) -> Route:
        """Return which model answers a session now; reads the registry, about 0.1 ms.

        Without a split it is the alias itself, whatever it points at.
        """
        traffic = self._journal.traffic(self._alias)
        if traffic and unit_interval(session_id, salt=traffic.salt) >= 1 - traffic.share:
            return Route(
                model=traffic.target, version=traffic.version, is_challenger=True, is_drawn=True
            )
        now = self._journal.current(self._alias)
        version = now.version if now else ""
        return Route(model=self._alias, version=version, is_drawn=traffic is not None)


def deployed_as(file: RegistryFile, name: str) -> str:
    """Return the version some runtime serves by a name that is no alias; "" if none does."""
    with file.database.reading() as connection:
        found = read_deployments(
            connection, "WHERE state = 'active' AND lower(name) = ?", (name.lower(),)
        )
    return found[-1].version if found else ""
