"""The settings of the data: what is recorded, how it is cleaned, and what is made of it."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, field_validator

from fine_tuning.config.section import Section, Text, distinct

FormatType = Literal["chatml", "alpaca", "instruction"]
StepName = Literal[
    "markup",
    "turns",
    "unicode",
    "whitespace",
    "redaction",
    "unfinished",
    "rejected",
    "empty",
    "role_order",
    "no_reply",
    "refusal",
    "cut_off",
    "too_short",
    "too_long",
    "too_many_tokens",
    "repetitive",
    "inappropriate",
    "language",
    "low_quality",
    "duplicate",
    "boilerplate",
    "near_duplicate",
]
PrivateKind = Literal[
    "URL", "EMAIL", "PHONE", "CARD", "IBAN", "IP", "MAC", "ID", "ADDRESS", "SECRET"
]  # fmt: skip
ModerationName = Literal["words", "profanex", "toxicity"]
TrainOn = Literal["weighted", "all", "last", "rated_up"]
Truncation = Literal["windows", "cut", "drop", "oldest"]
Region = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]
StepNames = Annotated[tuple[StepName, ...], AfterValidator(distinct)]
PrivateKinds = Annotated[tuple[PrivateKind, ...], AfterValidator(distinct)]
ModerationBackends = Annotated[tuple[ModerationName, ...], AfterValidator(distinct)]

# Three decimal ratios such as 0.8 + 0.1 + 0.1 miss 1 by a few units in the last place.
RATIO_TOLERANCE = 1e-6


class DataCollectionSettings(Section):
    """Which conversations are recorded, where, and which are long enough to train on."""

    enabled: bool = True
    """Whether the chatbot's conversations are recorded. false records nothing; what is there
    stays."""

    log_file: Text = "conversations.jsonl"
    """The file conversations are appended to: `.jsonl` for JSON lines, `.db` for SQLite. A relative
    path starts at the workspace (`--home`)."""

    min_conversation_length: int = Field(default=10, ge=0)
    """Characters of question and reply together. An exchange that is shorter is not trained on, and
    stays as context."""

    max_conversation_length: int | None = Field(default=None, ge=1)
    """Characters of question and reply together. An exchange that is longer is not trained on, and
    stays as context. null sets no limit: `data_preparation.max_length` decides."""

    skip_steps: StepNames = ()
    """Steps of cleaning that are left out, of those `fine-tuning clean` lists."""

    redact: PrivateKinds = (
        "URL", "EMAIL", "PHONE", "CARD", "IBAN", "IP", "MAC", "ID", "ADDRESS", "SECRET",
    )  # fmt: skip
    """Redaction: kinds of private values that are replaced by placeholders such as `<EMAIL_1>`
    before training; the log keeps them. ID covers numbers of passports, identity cards, social
    security and taxes; ADDRESS streets with a number; SECRET passwords, keys, tokens and PINs."""

    phone_regions: tuple[Region, ...] = ("US", "GB", "DE")
    """Countries (ISO 3166) whose national phone numbers are found; numbers with a country code are
    found everywhere."""

    max_conversation_tokens: int | None = Field(default=None, ge=1)
    """Tokens of a conversation, estimated without a model. What is said beyond them is not trained
    on. null sets no limit."""

    languages: tuple[Language, ...] = ()
    """Languages of replies to train on (ISO 639-1, such as `en`). Empty allows all; a reply too
    short to tell is always trained on."""

    min_quality: float = Field(default=0.0, ge=0, le=1)
    """Minimum heuristic quality of a reply, 0 to 1; `fine-tuning stats` shows the distribution of
    yours."""

    max_same_reply: int | None = Field(default=20, ge=1)
    """How often one and the same reply is trained on, so that stock phrases do not take over. A
    short reply to different questions is a label, and has no limit. null sets no limit."""

    near_duplicate_similarity: float = Field(default=0.7, gt=0, le=1)
    """Share of word triples two exchanges must have in common (Jaccard similarity) to be near
    duplicates, of which the best is trained on; their conversations are also put into the same
    split."""

    moderation: ModerationBackends = ("words",)
    """Filters of inappropriate content: `words` (a small list), `profanex` (a large one) and
    `toxicity` (a model); the last two need the extra `moderation`."""

    toxicity_threshold: float = Field(default=0.8, gt=0, le=1)
    """Probability from which `toxicity` leaves out a reply."""

    learn_from_feedback: bool = True
    """Whether feedback decides what is trained on: a corrected reply is trained on as you
    corrected it; one with a thumb down, a low rating, or regenerated and not chosen is not. A
    conversation you rejected in the review is left out either way."""

    lowest_rating: int = Field(default=4, ge=1, le=10)
    """Minimum rating, from 1 to 10, with which a reply is trained on."""

    auto_export: bool = True
    """Whether the recorded conversations are exported automatically, every `export_interval`
    conversations."""

    export_interval: int = Field(default=100, ge=1)
    """Conversations recorded between two automatic exports."""

    @field_validator("max_conversation_length")
    @classmethod
    def _above_minimum(cls, value: int | None, info: ValidationInfo) -> int | None:
        """Refuse a range that holds nothing."""
        minimum = info.data.get("min_conversation_length", 0)
        if value is not None and value < minimum:
            raise ValueError(f"at least min_conversation_length, which is {minimum}")
        return value


class DataPreparationSettings(Section):
    """How conversations become examples, and examples a data set."""

    format_type: FormatType = "chatml"
    """The form training pairs are written in. Training itself always follows the base model's own
    chat template."""

    chat_template: Text | None = None
    """What prompts are written with: `chatml`, or a file with a Jinja chat template. null takes
    what the server of the base model sends: its TEMPLATE for a name of Ollama's, else the template
    in the base's file."""

    max_length: int = Field(default=2048, ge=16, le=1_048_576)
    """Tokens of the longest example; `truncation` says what becomes of longer conversations."""

    train_on: TrainOn = "weighted"
    """Which replies are trained on: `weighted` (every finished one whose weight is not 0), `all`
    (every finished one), `last` (the last one of each conversation), or `rated_up` (those with a
    thumb up, a rating of 7 and more, or a correction)."""

    truncation: Truncation = "windows"
    """What becomes of a conversation longer than max_length: `windows` makes several examples of
    it that overlap in context only, `cut` trains on the reply that crosses max_length up to there
    and drops later ones, `drop` drops that one too, `oldest` leaves out the conversation's oldest
    messages before each reply until it fits."""

    train_ratio: float = Field(default=0.8, gt=0, le=1)
    """Training split: share of the conversations that is trained on. The three ratios add up to
    1."""

    validation_ratio: float = Field(default=0.1, ge=0, lt=1)
    """Validation split: share whose loss is measured during training, for early stopping."""

    test_ratio: float = Field(default=0.1, ge=0, lt=1)
    """Test split: share that is held out for the evaluation."""

    @field_validator("test_ratio")
    @classmethod
    def _ratios_fill_one(cls, value: float, info: ValidationInfo) -> float:
        """Refuse shares that leave data over or use it twice."""
        others = [info.data.get(key) for key in ("train_ratio", "validation_ratio")]
        shares = [share for share in (*others, value) if share is not None]
        if len(shares) == len(others) + 1 and not math.isclose(
            sum(shares), 1, abs_tol=RATIO_TOLERANCE
        ):
            written = " + ".join(f"{share:g}" for share in shares)
            raise ValueError(
                f"train_ratio, validation_ratio and test_ratio that add up to 1; "
                f"{written} is {sum(shares):g}"
            )
        return value
