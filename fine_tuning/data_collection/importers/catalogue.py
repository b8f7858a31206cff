"""All importers, and which of them a file is for, told by its beginning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from fine_tuning.core.errors import ConfigError, DataError, StorageError
from fine_tuning.core.json_value import JsonObject
from fine_tuning.data_collection.importers.alpaca import ALPACA
from fine_tuning.data_collection.importers.anything_llm import ANYTHING_LLM
from fine_tuning.data_collection.importers.chatgpt import CHATGPT
from fine_tuning.data_collection.importers.claude import CLAUDE
from fine_tuning.data_collection.importers.csv_table import CSV_TABLE
from fine_tuning.data_collection.importers.importer import Importer, Sample
from fine_tuning.data_collection.importers.items import ImportedItem
from fine_tuning.data_collection.importers.librechat import LIBRECHAT
from fine_tuning.data_collection.importers.llm_logs import LLM_LOGS
from fine_tuning.data_collection.importers.open_webui import OPEN_WEBUI
from fine_tuning.data_collection.importers.openai_chat import OPENAI_CHAT
from fine_tuning.data_collection.importers.own_log import OWN_LOG
from fine_tuning.data_collection.importers.preference_pairs import PREFERENCE
from fine_tuning.data_collection.importers.sharegpt import SHAREGPT
from fine_tuning.data_collection.importers.silly_tavern import SILLY_TAVERN
from fine_tuning.data_collection.importers.source import Source

# The order decides where a file fits several: the one that asks for more stands first.
IMPORTERS: dict[str, Importer] = {
    importer.name: importer
    for importer in (
        CHATGPT,
        CLAUDE,
        OPEN_WEBUI,
        LIBRECHAT,
        SILLY_TAVERN,
        ANYTHING_LLM,
        LLM_LOGS,
        OWN_LOG,
        PREFERENCE,
        SHAREGPT,
        OPENAI_CHAT,
        ALPACA,
        CSV_TABLE,
    )
}


@dataclass(frozen=True, slots=True)
class FileReading:
    """A file and the importer that reads it; ``reason`` says why that one."""

    source: Source
    importer: Importer
    reason: str

    def __iter__(self) -> Iterator[ImportedItem]:
        """Yield what the file holds; each time, it is read anew.

        Raises:
            DataError: if it cannot be read at all.
            StorageError: if it cannot be opened.
        """
        return self.importer.read(self.source)


def read_file(path: Path | str, name: str | None = None) -> FileReading:
    """Return the reading of a file.

    Args:
        path: The file.
        name: The format, one of :data:`IMPORTERS`; None finds it out.

    Raises:
        ConfigError: if there is no such format.
        DataError: if the file is empty, or of a format that is not known here.
        StorageError: if it cannot be opened.
    """
    path = Path(path)
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise StorageError(
            f"{path} {found}, expected a file of conversations",
            next_command="fine-tuning import FILE",
        )
    source = Source(path)
    if name is not None:
        return FileReading(source, importer_named(name), "chosen by you")
    try:
        sample, problem = _sample(source)
    except DataError as error:
        raise DataError(
            f"{path} holds no conversation: {error.message}", next_command=error.next_command
        ) from error
    for importer in IMPORTERS.values():
        if importer.knows(sample):
            return FileReading(source, importer, _why(sample))
    raise _unknown(path, sample, problem)


def importer_named(name: str) -> Importer:
    """Return an importer.

    Raises:
        ConfigError: if there is none of that name.
    """
    wanted = name.lower().replace("_", "-")
    if wanted in IMPORTERS:
        return IMPORTERS[wanted]
    near = get_close_matches(wanted, IMPORTERS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"format {name!r} is unknown, expected one of {', '.join(IMPORTERS)}{hint}")


SAMPLE_RECORDS = 20
SAMPLE_PLACES = 200
"""Records looked at for sound ones, when a file begins with damaged ones."""


def _sample(source: Source) -> tuple[Sample, str]:
    """Return the beginning of a file, and what was wrong with its first record, "" for nothing."""
    if source.is_sqlite:
        return Sample(tables=source.tables()), ""
    if not source.is_json and not source.is_zip:
        columns = source.columns()
        if len(columns) > 1:
            return Sample(columns=columns), ""
    problem = ""
    found: list[JsonObject] = []
    for record in islice(source.records(), SAMPLE_PLACES):
        if isinstance(record.value, Mapping):
            found.append(record.value)
            if len(found) == SAMPLE_RECORDS:
                break
        elif not problem:
            problem = f"line {record.line}: {record.reason or 'it is no object'}"
    return Sample(records=found), problem


def _why(sample: Sample) -> str:
    if sample.tables:
        return f"it has the tables {_some(sample.tables)}"
    if sample.columns:
        return f"it has the columns {_some(sample.columns)}"
    return f"its records have {_some(sample.records[0].keys())}"


def _some(names: object) -> str:
    listed = sorted(map(str, names))[:6]  # type: ignore[call-overload]
    return ", ".join(name[:40] for name in listed)


def _unknown(path: Path, sample: Sample, problem: str) -> DataError:
    formats = ", ".join(IMPORTERS)
    if sample.tables or sample.columns or sample.records:
        return DataError(
            f"{path} holds no conversation of a format known here: {_why(sample)}; known are "
            f"{formats}",
            next_command="fine-tuning import --format NAME FILE",
        )
    found = f"no record can be read ({problem})" if problem else "there is no record"
    return DataError(f"{path} holds no conversation: {found}, expected one of {formats}")
