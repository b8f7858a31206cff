"""The recorded conversations as a page: findings first, then cleaning, then the spreads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fine_tuning.core.data_account import reason_words
from fine_tuning.core.finding import Finding
from fine_tuning.data_collection.cleaning_account import cleaning_accounts
from fine_tuning.data_collection.cleaning_counts import AlikeRecord, CleaningCounts
from fine_tuning.data_collection.profile import Profile, most, spread_of
from fine_tuning.pages import charts
from fine_tuning.pages.page import Block, Figure, Notice, Page, PageSection, Table, Text, Tone

TONES: Mapping[str, Tone] = {"stop": "bad", "warning": "open", "note": "plain", "good": "good"}
MARKS = {"stop": "STOP", "warning": "warning", "note": "note", "good": "good"}
NUM_REVIEWED = 12
SHOWN_SHARE = 0.99
"""Share of values a histogram shows, so that a few long chats do not squeeze all others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReport:
    """What is known of the recorded conversations.

    ``recorded`` counts the log as it is, ``profile`` what cleaning keeps; ``counts`` are those of
    the cleaning.
    """

    recorded: Mapping[str, object]
    profile: Profile
    counts: CleaningCounts
    findings: Sequence[Finding]

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON values."""
        return {
            **self.recorded,
            "clean": self.profile.to_dict(),
            "cleaning": dict(self.counts),
            "findings": [finding.to_dict() for finding in self.findings],
        }


def data_page(report: DataReport, *, source: str, made_at: str) -> Page:
    """Return the report as a page.

    Args:
        report: What is known.
        source: Where the conversations are recorded.
        made_at: The time it was made, ISO 8601.
    """
    counts = report.counts
    sections = [
        PageSection("Findings", list(_findings(report.findings))),
        PageSection("Cleaning", list(_cleaning(counts))),
        PageSection("After cleaning: what is trained on", list(_spreads(report.profile))),
        PageSection("Recorded", list(_recorded(report.recorded))),
    ]
    if counts["review"]:
        sections.insert(
            2, PageSection("Near duplicates to review", list(_review(counts["review"])))
        )
    kept = ", ".join(
        f"{account.kept:,} of {account.num_in:,} {account.unit} kept"
        for account in cleaning_accounts(counts)
    )
    subtitle = f"{kept}; {source}, {made_at[:16]} UTC"
    return Page("Your conversations as training data", subtitle, sections)


def _findings(findings: Sequence[Finding]) -> Iterator[Block]:
    order = list(TONES)
    for finding in sorted(findings, key=lambda one: order.index(one.severity)):
        text = ". ".join(part for part in (finding.detail, finding.fix) if part)
        yield Notice(f"{MARKS[finding.severity]}: {finding.title}", text, TONES[finding.severity])


def _cleaning(counts: CleaningCounts) -> Iterator[Block]:
    accounts = cleaning_accounts(counts)
    sums = ". ".join(f"{account.unit.capitalize()}: {account.equation}" for account in accounts)
    yield Text(
        f"{sums}. Every conversation that is left out is listed with its reason by 'fine-tuning "
        "clean'; the log itself is never changed."
    )
    for account in accounts:
        if account.left_out:
            names = {reason_words(reason): number for reason, number in account.ranked}
            yield Figure(
                charts.bars(names, x_label=f"{account.unit} left out"),
                f"{account.unit.capitalize()} left out, by reason.",
            )
    rows = [
        [
            step["name"].replace("_", " "),
            f"{step['seen']:,}",
            f"{step['changed']:,}",
            f"{step['dropped']:,}",
            _example(step["examples"]),
        ]
        for step in counts["steps"]
        if step["changed"] or step["dropped"]
    ]
    headers = ["step", "seen", "changed", "left out", "for example"]
    yield Table(
        headers,
        rows,
        "Steps that changed conversations or left some out, in order.",
        frozenset({1, 2, 3}),
    )


def _example(examples: Sequence[Sequence[str]]) -> str:
    told = [what for _, what in examples if what != "changed"]
    return told[0] if told else ""


def _review(pairs: Sequence[AlikeRecord]) -> Iterator[Block]:
    yield Text(
        "Pairs that share many words, yet not enough to be near duplicates. They are kept; "
        "similarity is that of their words, not of their meaning."
    )
    rows = [
        [pair["first_id"], pair["second_id"], f"{pair['similarity']:.0%}"]
        for pair in pairs[:NUM_REVIEWED]
    ]
    more = len(pairs) - len(rows)
    caption = f"{more:,} more are in the JSON." if more else ""
    yield Table(["conversation", "and", "similarity"], rows, caption, frozenset({2}))


def _spreads(profile: Profile) -> Iterator[Block]:
    if not profile.num_conversations:
        yield Text("Nothing.")
        return
    told = profile.to_dict()
    names = ("turns", "exchange_chars", "tokens", "quality")
    rows = [
        [
            name.replace("_", " "),
            *(f"{value:,g}" for value in spread_of(profile.spreads[name]).values()),
        ]
        for name in names
    ]
    yield Table(["", *told["turns"]], rows, "Tokens are estimated.", frozenset(range(1, 7)))
    captions = {
        "tokens": ("estimated tokens of a conversation", "Length of conversations."),
        "exchange_chars": ("characters of question and reply", "Length of exchanges."),
        "turns": ("replies in a conversation", "Replies per conversation."),
        "quality": (
            "heuristic quality, 0 to 1",
            "Heuristic quality of replies; says nothing about truth.",
        ),
    }
    for name, (label, caption) in captions.items():
        values = profile.spreads[name]
        most_shown = sorted(values)[int(SHOWN_SHARE * (len(values) - 1))]
        shown = [value for value in values if value <= most_shown]
        hidden = len(values) - len(shown)
        told_too = f" The {hidden:,} longest are beyond the right edge." if hidden else ""
        svg = charts.histogram(shown, x_label=label, y_label=_unit(name))
        yield Figure(svg, caption + told_too)
    yield Figure(charts.bars(told["quality_parts"], x_label="mean, 0 to 1"), "Parts of quality.")
    for title, counts in (("language", profile.languages), ("source", profile.sources)):
        yield Figure(charts.bars(most(counts), x_label="conversations"), f"By {title}.")


def _unit(name: str) -> str:
    return "exchanges" if name == "exchange_chars" else "conversations"


def _recorded(recorded: Mapping[str, object]) -> Iterator[Block]:
    rows = [
        [name.replace("_", " "), f"{value:,}" if isinstance(value, int | float) else str(value)]
        for name, value in recorded.items()
        if not isinstance(value, Mapping | list)
    ]
    yield Table(["", ""], rows, "Before cleaning.", frozenset({1}))
    feedback = recorded.get("feedback")
    if isinstance(feedback, Mapping) and feedback:
        told = [[name.replace("_", " "), f"{value:,}"] for name, value in feedback.items()]
        yield Table(["", ""], told, "Feedback.", frozenset({1}))
