"""The gate before the pages: who has the password sees them, who has not sees nothing."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import fine_tuning
from fine_tuning.integration.app.access import DELAY_S, WrongTries
from fine_tuning.integration.app.formatting import count, duration, percent, plain, size, when
from fine_tuning.workbench.app_access import Access

MAIN = Path(fine_tuning.__file__).parent / "integration" / "app" / "main.py"
PASSWORD = "correct horse"  # noqa: S105 - of a test
FAILING = """
from fine_tuning.core import errors
from fine_tuning.integration.app.common import told
with told():
    raise {error}
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("FINE_TUNING_HOME", str(tmp_path))
    monkeypatch.setenv("FINE_TUNING__DEPLOYMENT__RUNTIME", "embedded")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield tmp_path
    st.cache_resource.clear()
    st.cache_data.clear()


def opened() -> AppTest:
    return AppTest.from_file(str(MAIN), default_timeout=30).run()


def test_without_a_password_this_machine_sees_the_pages() -> None:
    page = opened()
    assert not page.exception
    assert not page.error
    assert page.chat_input


def test_a_password_stands_before_every_page(home: Path) -> None:
    Access(home).set_password(PASSWORD)
    page = opened()
    assert not page.chat_input
    assert [field.label for field in page.text_input] == ["Password"]
    page.text_input[0].set_value("wrong horse")
    begun_s = time.monotonic()
    page.button[0].click().run()
    assert time.monotonic() - begun_s >= DELAY_S
    assert [error.value for error in page.error] == ["That is not the password."]
    assert not page.chat_input
    page.text_input[0].set_value(PASSWORD)
    page.button[0].click().run()
    assert page.chat_input
    assert not opened().chat_input, "another browser has to bring it too"


def test_wrong_tries_wait_for_each_other(home: Path) -> None:
    Access(home).set_password(PASSWORD)
    tries, found = WrongTries(), []
    threads = [
        threading.Thread(target=lambda: found.append(tries.check("wrong horse"))) for _ in range(2)
    ]
    begun_s = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [False, False]
    assert time.monotonic() - begun_s >= 3 * DELAY_S, "one after the other, the second for longer"


def test_a_damaged_password_file_lets_nobody_in(home: Path) -> None:
    Access(home).set_password(PASSWORD).write_bytes(b"nothing")
    page = opened()
    page.text_input[0].set_value(PASSWORD)
    page.button[0].click().run()
    assert "does not hold" in page.error[0].value
    assert not page.chat_input


def test_a_setting_that_is_refused_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINE_TUNING__TRAINING__LORA_R", "many")
    page = opened()
    assert not page.exception
    assert "lora" in page.error[0].value


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (
            "errors.DataError('a line is torn', next_command='fine-tuning stats')",
            "A line is torn\\.",
        ),
        ("ZeroDivisionError('by zero')", "This did not work\\: ZeroDivisionError\\: by zero\\."),
    ],
)
def test_what_goes_wrong_is_a_sentence(error: str, shown: str) -> None:
    page = AppTest.from_string(FAILING.format(error=error)).run()
    assert not page.exception
    assert page.error[0].value.startswith(shown)


def test_numbers_for_people() -> None:
    assert (count(12345), percent(0.864)) == ("12,345", "86 %")
    assert [duration(s) for s in (0.44, 7, 42, 200, 3600, 7500)] == [
        "0.4 s", "7 s", "42 s", "3 min 20 s", "1 h", "2 h 5 min",
    ]  # fmt: skip
    assert [size(n) for n in (512, 1500, 34 << 20, 5 << 40)] == [
        "512 B", "1.5 KiB", "34 MiB", "5.0 TiB",
    ]  # fmt: skip
    assert when("2020-11-12T08:00:00+00:00").endswith("Nov 2020")
    assert (when(""), when("never")) == ("", "never")
    assert plain("<b>*x*") == "\\<b\\>\\*x\\*"


def test_the_pages_open_without_the_libraries_of_models() -> None:
    code = (
        "import sys\n"
        "from importlib import import_module\n"
        "from streamlit.testing.v1 import AppTest\n"
        f"page = AppTest.from_file({str(MAIN)!r}, default_timeout=30).run()\n"
        "assert page.chat_input and not page.error\n"
        "from fine_tuning.integration.app.common import PAGES\n"
        "for name in PAGES:\n"
        "    import_module(f'fine_tuning.integration.app.{name}')\n"
        "print(*{'torch', 'xllamacpp', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
