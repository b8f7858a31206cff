"""Training computes what serving computes, on the real embedded model and real text."""

from __future__ import annotations

import pytest

from fine_tuning.core.errors import DataError
from fine_tuning.runtimes.base_model import resolve_base_model
from fine_tuning.workbench.doctor.diagnostics import PARITY_TEXT
from fine_tuning.workbench.doctor.parity import MIN_POSITIONS, check_parity


def test_the_embedded_model_over_two_hundred_positions() -> None:
    report = check_parity(
        resolve_base_model("embedded").path,
        PARITY_TEXT.read_text(encoding="utf-8"),
        name="embedded",
        num_positions=MIN_POSITIONS,
        threads=1,
    )
    assert report.num_positions == MIN_POSITIONS
    assert report.mean_kl < 0.02
    assert report.top1_agreement >= 0.95
    assert report.holds


def test_too_little_text_is_refused() -> None:
    with pytest.raises(DataError, match="expected at least 200"):
        check_parity(
            resolve_base_model("embedded").path,
            "Too short.",
            name="embedded",
            num_positions=MIN_POSITIONS,
            threads=1,
        )
