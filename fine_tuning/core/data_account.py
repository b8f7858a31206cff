"""What becomes of recorded data on its way to training: what came in, was kept and was left out.

Cleaning and preparation give one account each; every surface shows them in this one form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import floor, prod

from fine_tuning.core.finding import Finding, Severity
from fine_tuning.core.json_value import JsonValue

NOTABLE_SHARE = 0.1
"""Share of what came in that a reason may leave out without a line of its own."""
ROUNDING = 1e-9
KEPT_SHARE = 0.95
"""Share that an advised value of a setting would keep."""
EXPECTED_REASONS = frozenset({"consent", "rejected", "not_trained", "stands in train"})
"""Reasons that a person gave, or that only move an exchange: told, but nothing to warn of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataAccount:
    """How much came in, was kept and was left out; what came in is the sum.

    ``unit`` is what is counted, in the plural; ``left_out`` counts by reason; ``remedies`` says
    what helps against a reason. ``num_cut`` of the kept are trained on up to the longest sequence
    only. ``title`` heads its row in a table; "" takes the unit.
    """

    unit: str
    kept: int
    left_out: Mapping[str, int]
    remedies: Mapping[str, str] = field(default_factory=dict)
    num_cut: int = 0
    title: str = ""

    @property
    def num_left_out(self) -> int:
        """How many were left out, for whatever reason."""
        return sum(self.left_out.values())

    @property
    def num_in(self) -> int:
        """How many came in."""
        return self.kept + self.num_left_out

    def counted(self, number: int) -> str:
        """Return a number with its unit, such as "1 reply" or "2 replies"."""
        one = "reply" if self.unit == "replies" else self.unit.removesuffix("s")
        return f"{number:,} {one if number == 1 else self.unit}"

    @property
    def kept_share(self) -> float:
        """The share that was kept; 1 of nothing."""
        return self.kept / self.num_in if self.num_in else 1.0

    @property
    def equation(self) -> str:
        """The sum, such as "300 = 54 kept + 246 left out"."""
        return f"{self.num_in:,} = {self.kept:,} kept + {self.num_left_out:,} left out"

    @property
    def sentence(self) -> str:
        """The sum with the reasons, for one line."""
        left = f" (left out: {self.reasons})" if self.left_out else ""
        cut = f", {self.num_cut:,} of them cut at max_length" if self.num_cut else ""
        return f"{self.kept:,} of {self.num_in:,} {self.unit} are kept{left}{cut}"

    @property
    def reasons(self) -> str:
        """The numbers by reason, such as "246 too long, 3 refusal"."""
        return ", ".join(f"{number:,} {reason_words(why)}" for why, number in self.ranked)

    @property
    def ranked(self) -> list[tuple[str, int]]:
        """The reasons with their numbers, the largest first."""
        return sorted(self.left_out.items(), key=lambda item: -item[1])

    def is_notable(self, reason: str) -> bool:
        """Tell whether a reason leaves out more than a tenth, and no person decided so."""
        share = self.left_out.get(reason, 0) / max(1, self.num_in)
        return share > NOTABLE_SHARE and reason not in EXPECTED_REASONS

    def headline(self, reason: str) -> str:
        """Return a reason with its number, such as "too long: 24 of 30 replies are left out"."""
        number = self.left_out[reason]
        verb = "is" if number == 1 else "are"
        return f"{reason_words(reason)}: {number:,} of {self.num_in:,} {self.unit} {verb} left out"

    @property
    def remarks(self) -> list[str]:
        """One line for each reason that leaves out more than a tenth, with what helps."""
        return [
            "; ".join(filter(None, (self.headline(reason), self.remedies.get(reason, ""))))
            for reason, _ in self.ranked
            if self.is_notable(reason)
        ]

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return {
            "in": self.num_in,
            "kept": self.kept,
            "left_out": dict(self.left_out),
            "cut": self.num_cut,
            "remarks": list(self.remarks),
        }


def reason_words(reason: str) -> str:
    """Return a reason's name as words; one that is words already stays."""
    return reason if " " in reason else reason.replace("_", " ")


def keeping(setting: str, needed: float) -> str:
    """Return the value of a setting that would keep 95 %, as it can be typed."""
    value = f"{needed:.0f}" if float(needed).is_integer() else f"{needed:.4g}"
    return f"{setting}={value} would keep {KEPT_SHARE * 100:.0f} % of them"


def account_rows(accounts: Iterable[DataAccount]) -> dict[str, str]:
    """Return accounts as rows of a table: the sums first, then each reason with its numbers."""
    listed = list(accounts)
    rows = {account.title or account.unit: account.equation for account in listed}
    numbers: dict[str, list[str]] = {}
    for account in listed:
        for reason, number in account.ranked:
            numbers.setdefault(reason, []).append(account.counted(number))
    rows |= {
        f"left out: {reason_words(reason)}": ", ".join(counted)
        for reason, counted in numbers.items()
    }
    for account in listed:
        if account.num_cut:
            rows["cut at max_length"] = f"{account.num_cut:,} of the {account.unit} kept"
    return rows


def account_remarks(accounts: Iterable[DataAccount]) -> list[str]:
    """Return a line for each reason that leaves out more than a tenth, in the finest units."""
    return [line for account in finest(accounts) for line in account.remarks]


def finest(accounts: Iterable[DataAccount]) -> list[DataAccount]:
    """Return the accounts without those of conversations that another one counts more finely."""
    listed = list(accounts)
    units = {account.unit for account in listed}
    return [
        account
        for account in listed
        if account.unit != "conversations"
        or not ({"replies"} if account.title else {"exchanges"}) & units
    ]


def account_line(accounts: Iterable[DataAccount]) -> str:
    """Return all accounts in one line, with what helps most against the largest notable loss."""
    listed = list(accounts)
    line = "; ".join(account.sentence for account in listed)
    fix = main_remedy(listed)
    return f"{line}. {fix}" if fix else line


def main_remedy(accounts: Sequence[DataAccount]) -> str:
    """Return what helps against the reason that leaves out most; "" when none is notable."""
    largest = _largest(accounts)
    if largest is None or not largest[0].is_notable(largest[1]):
        return ""
    return largest[0].remedies.get(largest[1], "")


def reach_finding(accounts: Sequence[DataAccount]) -> Finding:
    """Return how much of the recorded data reaches training, with the main reason of the rest.

    It is "good" only when less than a tenth is lost on the whole way.

    Args:
        accounts: Of the stages in their order, each of what the one before kept.
    """
    share = prod(account.kept_share for account in accounts)
    lost, largest = 1 - share, _largest(accounts)
    first, last = accounts[0], accounts[-1]
    title = f"{last.kept:,} of {first.num_in:,} {first.unit} reach training"
    if first.unit != last.unit:
        whole = floor(100 * share + ROUNDING)  # 299 of 300 are not 100 %
        title = f"{whole} % reaches training: " + ", ".join(
            f"{one.kept:,} of {one.num_in:,} {one.unit}" for one in accounts
        )
    detail = ""
    if largest is not None:
        account, reason = largest
        detail = f"above all {account.headline(reason)}"
    return Finding(
        check="left out",
        severity=_severity(lost, accounts),
        title=title,
        detail=detail,
        fix=largest[0].remedies.get(largest[1], "") if largest else "",
        numbers={"kept_share": round(share, 4), **{one.unit: one.to_dict() for one in accounts}},
    )


def _severity(lost: float, accounts: Sequence[DataAccount]) -> Severity:
    """Return how bad a loss is; what persons left out themselves is no reason to warn."""
    if lost < NOTABLE_SHARE - ROUNDING:
        return "good"
    by_rules = 1 - prod(
        1 - sum(n for why, n in one.left_out.items() if why not in EXPECTED_REASONS)
        / max(1, one.num_in)
        for one in accounts
    )  # fmt: skip
    return "warning" if by_rules >= NOTABLE_SHARE - ROUNDING else "note"


def _largest(accounts: Sequence[DataAccount]) -> tuple[DataAccount, str] | None:
    """Return the account and the reason that leave out most, by share of all that came in."""
    sizes: list[tuple[bool, float, DataAccount, str]] = []
    share = 1.0
    for account in accounts:
        for reason, number in account.left_out.items():
            lost = share * number / max(1, account.num_in)
            sizes.append((reason not in EXPECTED_REASONS, lost, account, reason))
        share *= account.kept_share
    if not sizes:
        return None
    _, _, account, reason = max(sizes, key=lambda item: item[:2])
    return account, reason
