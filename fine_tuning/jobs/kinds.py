"""The registry of kinds of jobs: what each is called, what it takes, and what does it.

A module registers its kinds when it is imported, and a job's file names that module, so that the
process that works on the job finds the kind whoever asked for it, another package included::

    register(JobKind(name="merge", title="Merging", params=MergeParams,
                     work=later("my_package.merging:merge"), module=__name__))
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from fine_tuning.config.schema import Settings
from fine_tuning.config.workspace import Workspace
from fine_tuning.core.errors import ConfigError, DataError
from fine_tuning.jobs.job import Job
from fine_tuning.jobs.reporter import JobReporter

P = TypeVar("P")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """What a job's work is given besides its parameters; ``reporter`` is told how far it is."""

    job: Job
    settings: Settings
    workspace: Workspace
    reporter: JobReporter


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """A sentence on what was done, and its values, plain JSON ones."""

    sentence: str
    values: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobKind(Generic[P]):
    """A kind of long work.

    Attributes:
        name: As it stands in a job's file.
        title: As people read it.
        params: A dataclass or TypedDict of plain values: what is to be done.
        work: Does it; raises ``InterruptedRunError`` when it was asked to end and saved its work.
        module: The module whose import registers it.
        is_resumable: Whether a job that ended early can go on where it stopped.
        makes_run: Whether it makes a run, which gets the job's id unless ``run_id`` names one.
    """

    name: str
    title: str
    params: type[P]
    work: Callable[[JobContext, P], JobResult]
    module: str
    is_resumable: bool = True
    makes_run: bool = False

    def to_json(self, params: P) -> dict[str, object]:
        """Return parameters as plain JSON values.

        Raises:
            ConfigError: if reading them again would not give the same parameters.
        """
        raw: dict[str, object] = TypeAdapter(self.params).dump_python(
            params, mode="json", warnings=False
        )
        if self.from_json(json.loads(json.dumps(raw))) != params:
            raise ConfigError(f"the parameters of a job of kind {self.name!r} do not survive JSON")
        return raw

    def from_json(self, raw: Mapping[str, object]) -> P:
        """Read what :meth:`to_json` wrote; unknown keys are ignored.

        Raises:
            DataError: if a parameter is missing or not of its type.
        """
        try:
            return TypeAdapter(self.params).validate_python(dict(raw))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise DataError(
                f"a job of kind {self.name!r} has a parameter this version does not take "
                f"({where}): {first['msg']}",
                next_command="start it anew",
            ) from error


class JobKinds:
    """Kinds of jobs by their names."""

    def __init__(self) -> None:
        self._kinds: dict[str, JobKind[Any]] = {}

    def __iter__(self) -> Iterator[JobKind[Any]]:
        """Yield all kinds, in the order they were registered."""
        return iter(tuple(self._kinds.values()))

    def register(self, kind: JobKind[P]) -> JobKind[P]:
        """Add a kind and return it; importing its module again replaces it.

        Raises:
            ConfigError: if another module has registered a kind of that name.
        """
        other = self._kinds.get(kind.name)
        if other is not None and other.module != kind.module:
            raise ConfigError(
                f"{kind.module} registers a kind of job {kind.name!r}, which {other.module} "
                "has registered already, expected another name"
            )
        self._kinds[kind.name] = kind
        return kind

    def of(self, job: Job, module: str = "") -> JobKind[Any]:
        """Return the kind of a job, importing the module that registers it.

        Args:
            job: The job.
            module: The module to import when the job's file names none.

        Raises:
            DataError: if the module cannot be imported or registers no such kind.
        """
        registrar = job.module or module
        try:
            if registrar:
                import_module(registrar)
        except ImportError as error:
            raise DataError(
                f"job {job.id} is of kind {job.kind!r}, registered by {registrar}, which cannot "
                f"be imported here: {error}",
                next_command="install what it belongs to, or remove the job",
            ) from error
        if (kind := self._kinds.get(job.kind)) is None:
            known = ", ".join(sorted(self._kinds)) or "none"
            raise DataError(
                f"job {job.id} is of kind {job.kind!r}, which is not known here, "
                f"expected one of {known}",
                next_command="update the program, or remove the job",
            )
        return kind

    def title(self, name: str) -> str:
        """Return what people read for a kind; its own name when it is not known here."""
        kind = self._kinds.get(name)
        return kind.title if kind else name


KINDS = JobKinds()
"""The kinds of this process."""


def register(kind: JobKind[P]) -> JobKind[P]:
    """Add a kind to those of this process and return it; see :meth:`JobKinds.register`."""
    return KINDS.register(kind)


def later(address: str) -> Callable[[JobContext, P], JobResult]:
    """Return work that is imported when it is done, so that asking for it loads nothing.

    Args:
        address: ``module:function``.
    """
    module, _, name = address.partition(":")

    def work(context: JobContext, params: P) -> JobResult:
        function: Callable[[JobContext, P], JobResult] = getattr(import_module(module), name)
        return function(context, params)

    return work
