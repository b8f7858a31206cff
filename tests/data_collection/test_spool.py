"""Where cleaned conversations wait: in memory and on disk the same, and cleanings on top."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from fine_tuning.core.conversation import Conversation
from fine_tuning.data_collection.data_cleaner import DataCleaner, Dropped
from fine_tuning.data_collection.spool import FileSpool, MemorySpool, Spool

MAIL = "Write to jane.doe@example.com about the long and winding road to the sea, number"


def talk(name: str, said: str) -> Conversation:
    turns = Conversation.from_turns([("user", said), ("assistant", f"That is so: {said}")])
    return replace(turns, id=name)


@pytest.fixture(
    params=[
        MemorySpool,
        FileSpool,
        partial(FileSpool, most_held_chars=0),
        partial(FileSpool, most_held_chars=600),
    ]
)
def shelf(request: pytest.FixtureRequest) -> Spool:
    opener: Callable[[], Spool] = request.param
    return opener()


def test_a_conversation_and_its_original_are_handed_out(shelf: Spool) -> None:
    pairs = [(talk(f"c{n}", f"clean {n}"), talk(f"c{n}", f"as it came {n}")) for n in range(5)]
    same = talk("same", "nothing to clean")
    for clean, original in pairs[:3]:
        shelf.put(clean, original)
    shelf.put(same, same)
    assert shelf.get(1) == pairs[1][0]
    for clean, original in pairs[3:]:  # writing goes on after reading
        shelf.put(clean, original)
    numbers = (0, 1, 2, 4, 5)
    assert [shelf.get(n) for n in numbers] == [clean for clean, _ in pairs]
    assert [shelf.original(n) for n in numbers] == [original for _, original in pairs]
    assert shelf.get(3) == shelf.original(3) == same
    shelf.close()


def test_a_near_duplicate_is_dropped_as_it_came_in() -> None:
    given = [talk("a", MAIL), talk("b", f"Please {MAIL.lower()}!")]
    for run in (DataCleaner().clean(given).dropped, list(DataCleaner().stream(given))):
        (lost,) = [one for one in run if isinstance(one, Dropped)]
        assert lost.reason == "near_duplicate"
        assert lost.conversation in given


def test_there_is_no_result_before_the_end() -> None:
    run = DataCleaner().stream([talk("a", f"{MAIL} one"), talk("c", "Something else entirely.")])
    outcomes = iter(run)
    next(outcomes)
    for ask in (lambda: run.result, lambda: run.clusters, lambda: run.counts, lambda: run.changed):
        with pytest.raises(RuntimeError, match="not at its end"):
            ask()
    assert len(list(outcomes)) == 1
    assert run.result.counts["kept"] == 2
    assert run.result.changed == {"a": ("redaction",)}
