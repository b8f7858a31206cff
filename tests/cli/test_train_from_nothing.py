"""A version to go on from that is not there is told before anything else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.running import run


@pytest.mark.parametrize("base", ["embedded", "no-such-base:7b"])
def test_the_missing_version_is_named_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], base: str
) -> None:
    monkeypatch.setenv("FINE_TUNING_HOME", str(tmp_path))
    for more in ([], ["--dry-run"]):
        code, _, err = run(capsys, "train", "--from", "support:9", "--base", base, *more)
        assert code == 4
        assert "'support:9'" in err
        assert "no-such-base" not in err
        assert "conversation" not in err
