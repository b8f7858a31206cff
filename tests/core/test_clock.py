"""Moments are stored in UTC, whatever zone they came in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from fine_tuning.core.clock import SystemClock, iso


def test_the_stored_form_is_utc_with_microseconds() -> None:
    moment = datetime(2026, 5, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert iso(moment) == "2026-04-30T23:30:00.000000+00:00"


def test_the_clock_knows_its_zone_and_never_goes_back() -> None:
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert clock.monotonic_s() <= clock.monotonic_s()
