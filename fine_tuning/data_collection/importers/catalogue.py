"""All importers, and which of them a file is for, told by its beginning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from fine_tuning.core.errors import ConfigError, DataError, StorageError
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.data_collection.importers.alpaca import ALPACA
from fine_tuning.data_collection.importers.anything_llm import ANYTHING_LLM
from fine_tuning.data_collection.importers.chatgpt import CHATGPT
from fine_tuning.data_collection.importers.claude import CLAUDE
from fine_tuning.data_collection.importers.csv_table import CSV_TABLE
from fine_tuning.data_collection.importers.deepseek import DEEPSEEK
from fine_tuning.data_collection.importers.discord import DISCORD
from fine_tuning.data_collection.importers.gemini import GEMINI
from fine_tuning.data_collection.importers.grok import GROK
from fine_tuning.data_collection.importers.importer import Importer, Sample
from fine_tuning.data_collection.importers.items import ImportedItem, Quarantined
from fine_tuning.data_collection.importers.jan import JAN
from fine_tuning.data_collection.importers.key_paths import command, path_of_messages
from fine_tuning.data_collection.importers.librechat import LIBRECHAT
from fine_tuning.data_collection.importers.llama_cpp import LLAMA_CPP
from fine_tuning.data_collection.importers.llm_logs import LLM_LOGS
from fine_tuning.data_collection.importers.lm_studio import LM_STUDIO
from fine_tuning.data_collection.importers.message_lists import MESSAGE_LISTS
from fine_tuning.data_collection.importers.messenger import AssistantUnknownError, by_frequency
from fine_tuning.data_collection.importers.open_webui import OPEN_WEBUI
from fine_tuning.data_collection.importers.openai_chat import OPENAI_CHAT
from fine_tuning.data_collection.importers.own_log import OWN_LOG
from fine_tuning.data_collection.importers.pairs import PAIRS
from fine_tuning.data_collection.importers.preference_pairs import PREFERENCE
from fine_tuning.data_collection.importers.sharegpt import SHAREGPT
from fine_tuning.data_collection.importers.silly_tavern import SILLY_TAVERN
from fine_tuning.data_collection.importers.source import Source
from fine_tuning.data_collection.importers.telegram import TELEGRAM
from fine_tuning.data_collection.importers.whatsapp import WHATSAPP

# The order decides where a file fits several: the one that asks for more stands first.
IMPORTERS: dict[str, Importer] = {
    importer.name: importer
    for importer in (
        DEEPSEEK,
        CHATGPT,
        CLAUDE,
        OPEN_WEBUI,
        LIBRECHAT,
        LLAMA_CPP,
        LM_STUDIO,
        JAN,
        GROK,
        GEMINI,
        SILLY_TAVERN,
        TELEGRAM,
        DISCORD,
        WHATSAPP,
        ANYTHING_LLM,
        LLM_LOGS,
        OWN_LOG,
        PREFERENCE,
        SHAREGPT,
        OPENAI_CHAT,
        MESSAGE_LISTS,
        ALPACA,
        CSV_TABLE,
        PAIRS,
    )
}


@dataclass(frozen=True, slots=True)
class FileReading:
    """A file and the importer that reads it; ``reason`` says why that one.

    ``members`` are the files of an archive that are read in its place.
    """

    source: Source
    importer: Importer
    reason: str
    members: tuple[Source, ...] = ()

    def __iter__(self) -> Iterator[ImportedItem]:
        """Yield what the file holds; each time, it is read anew.

        Raises:
            DataError: if it cannot be read at all.
            StorageError: if it cannot be opened.
        """
        if not self.members:
            yield from self.importer.read(self.source)
        for member in self.members:
            try:
                yield from self.importer.read(member)
            except AssistantUnknownError:
                raise
            except DataError as error:
                yield Quarantined(line=0, reason=f"{member.path.name}: {error.message}")

    @property
    def unread(self) -> dict[str, int]:
        """The keys or columns not read, and in how many of the records read so far."""
        counts = sum((member.unread for member in self.members), self.source.unread)
        return dict(counts.most_common())

    def persons(self) -> list[str]:
        """Return who speaks in a chat between persons, the most frequent first; none for others.

        Raises:
            DataError: as reading raises.
            StorageError: as reading raises.
        """
        if self.importer.persons is None:
            return []
        sources = self.members or (self.source,)
        return by_frequency(name for source in sources for name in self.importer.persons(source))


def read_file(path: Path | str, name: str | None = None, assistant: str = "") -> FileReading:
    """Return the reading of a file.

    Args:
        path: The file.
        name: The format, one of :data:`IMPORTERS`; None finds it out.
        assistant: The person who is the assistant, in a chat between persons.

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
    source = Source(path, assistant)
    chosen = importer_named(name) if name is not None else None
    try:
        if source.is_zip and not source.has_conversations:
            return _archive(source, chosen)
        if chosen is not None:
            return FileReading(source, chosen, f"chosen by you{_encoding(source)}")
        sample, problem = _sample(source)
    except DataError as error:
        raise DataError(
            f"{path} holds no conversation: {error.message}", next_command=error.next_command
        ) from error
    importer = _fitting(sample)
    if importer is None:
        raise _unknown(path, sample, problem)
    return FileReading(source, importer, f"{_why(sample)}{_encoding(source)}")


def _fitting(sample: Sample) -> Importer | None:
    return next((one for one in IMPORTERS.values() if one.knows(sample)), None)


def _encoding(source: Source) -> str:
    return f"; read as {source.encoding}" if source.encoding else ""


def _archive(source: Source, chosen: Importer | None) -> FileReading:
    """Return the reading of an archive: of its files, those of the format that asks for most.

    Raises:
        DataError: if it holds no file of a format known here.
    """
    found: dict[str, list[tuple[Source, Sample]]] = {}
    for path in source.members:
        member = Source(path, source.assistant)
        try:
            sample, _ = _sample(member)
        except (DataError, StorageError):  # an empty or damaged one says nothing
            continue
        importer = _fitting(sample)
        if importer is not None:
            found.setdefault(importer.name, []).append((member, sample))
    names = [name for name in IMPORTERS if name in found and chosen in {None, IMPORTERS[name]}]
    if not names:
        shown = ", ".join(path.name for path in source.members[:6]) or "no text or database"
        raise DataError(
            f"the archive has no file of a format known here; it holds {shown}",
            next_command="fine-tuning import FILE, with a file of the archive",
        )
    members = found[names[0]]
    first, sample = members[0]
    others = f" and {len(members) - 1} more files" if len(members) > 1 else ""
    reason = f"{_why(sample)} in {first.path.name}{others}{_encoding(first)}"
    return FileReading(
        source, chosen or IMPORTERS[names[0]], reason, tuple(member for member, _ in members)
    )


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
    text = source.beginning()
    if not source.is_json and not source.is_zip:
        columns = source.columns()
        if len(columns) > 1 or text.lstrip().startswith("<"):
            return Sample(columns=columns, text=text), ""
    return _sample_of_records(source, text)


def _sample_of_records(source: Source, text: str) -> tuple[Sample, str]:
    problem = ""
    found: list[JsonObject] = []
    lists: list[list[JsonValue]] = []
    for record in islice(source.records(), SAMPLE_PLACES):
        if isinstance(record.value, Mapping):
            found.append(record.value)
        elif isinstance(record.value, list):
            lists.append(record.value)
        elif not problem:
            problem = f"line {record.line}: {record.reason or 'it is no object'}"
        if len(found) + len(lists) == SAMPLE_RECORDS:
            break
    return Sample(records=found, lists=lists, text=text), problem


def _why(sample: Sample) -> str:
    if sample.tables:
        return f"it has the tables {_some(sample.tables)}"
    if sample.columns:
        return f"it has the columns {_some(sample.columns)}"
    if sample.records:
        return f"its records have {_some(sample.records[0].keys())}"
    if sample.lists:
        return "its records are lists"
    return "its lines begin with a time and a name" if sample.text else "it says nothing"


def _some(names: object) -> str:
    listed = sorted(map(str, names))[:6]  # type: ignore[call-overload]
    return ", ".join(name[:40] for name in listed)


def _unknown(path: Path, sample: Sample, problem: str) -> DataError:
    formats = ", ".join(IMPORTERS)
    if where := path_of_messages(sample.records):
        is_array = sample.text.lstrip().startswith("[")
        return DataError(
            f"{path} is of no format known here ({_why(sample)}); messages found under {where}",
            next_command=command(where, is_array=is_array),
        )
    if sample.tables or sample.columns or sample.records:
        return DataError(
            f"{path} holds no conversation of a format known here: {_why(sample)}; known are "
            f"{formats}",
            next_command="fine-tuning import --format NAME FILE",
        )
    found = f"no record can be read ({problem})" if problem else "there is no record"
    return DataError(f"{path} holds no conversation: {found}, expected one of {formats}")
