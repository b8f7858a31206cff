"""What a data set's ``manifest.json`` says, as types; its form is ``dataset/1``."""

from __future__ import annotations

from typing import Required, TypedDict, cast


class DatasetSettings(TypedDict, total=False):
    """The settings a data set was made with."""

    max_length: int
    ratios: dict[str, float]
    seed: int
    train_on: str
    truncation: str


class ConversationCounts(TypedDict):
    """What became of the conversations given; ``dropped`` by reason."""

    given: int
    kept: int
    dropped: dict[str, int]


class ReplyCounts(TypedDict):
    """Replies to be trained on that were given and kept; the rest was lost, by reason."""

    given: int
    kept: int


class SplitCounts(TypedDict):
    """What one split holds; a reply is a run of trained tokens."""

    conversations: int
    sequences: int
    replies: int
    tokens: int
    trained_tokens: int
    conversation_ids: list[str]


class FileEntry(TypedDict):
    """A file of the data set, by which a change is found."""

    sha256: str
    size_bytes: int


class DatasetFacts(TypedDict, total=False):
    """How a data set came to be, without times or places: it is part of the name.

    ``dropped_conversations`` are pairs of id and reason, ``borrowed_clusters`` the split each one's
    draw had named, ``forgotten`` how many conversations were taken out later. Of the replies, given
    = kept + the sum of ``lost_replies``; of those beyond ``max_length``, ``needed_length`` (absent
    when there are none) would keep 95 %.
    """

    base_model: dict[str, str]
    tokenizer: str
    renderer: str
    settings: DatasetSettings
    conversations: ConversationCounts
    dropped_conversations: list[list[str]]
    replies: ReplyCounts
    lost_replies: dict[str, int]
    needed_length: int
    cut_replies: int
    splits: dict[str, SplitCounts]
    borrowed_clusters: dict[str, str]
    remarks: list[str]
    forgotten: int


class DatasetManifest(DatasetFacts, total=False):
    """The whole manifest; ``name`` is derived from everything else in it."""

    schema: Required[str]
    files: Required[dict[str, FileEntry]]
    name: Required[str]


def facts_of(manifest: DatasetManifest) -> DatasetFacts:
    """Return what a manifest says without what is made anew for other files: a copy to change."""
    made_anew = {"name", "schema", "files"}
    facts = {key: value for key, value in manifest.items() if key not in made_anew}
    return cast("DatasetFacts", facts)
