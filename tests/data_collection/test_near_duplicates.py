from __future__ import annotations

import random

import pytest

from fine_tuning.core.conversation import Conversation
from fine_tuning.data_collection.data_cleaner import DataCleaner, Dropped
from fine_tuning.data_collection.near_duplicates import NearDuplicates
from fine_tuning.data_collection.quality import quality

WORDS = [
    a + b for a in ("ba", "ke", "li", "mo", "nu", "ra", "si", "to") for b in "bcdfghjklmnpqrst"
]


def essay(rng: random.Random, length: int = 80) -> list[str]:
    return rng.choices(WORDS, k=length)


def edited(rng: random.Random, words: list[str], count: int) -> list[str]:
    changed = list(words)
    for place in rng.sample(range(len(words)), count):
        changed[place] = "changed"
    return changed


def jaccard(one: str, other: str) -> float:
    """The definition, over word triples."""
    a, b = ({tuple(w[i : i + 3]) for i in range(len(w) - 2)} for w in (one.split(), other.split()))
    return len(a & b) / len(a | b)


def test_pairs_are_found_by_their_true_similarity() -> None:
    rng = random.Random(3)
    texts: list[str] = []
    for number in range(300):
        words = essay(rng)
        texts += [" ".join(words), " ".join(edited(rng, words, number % 12))]
    near = NearDuplicates(0.7)
    for number, text in enumerate(texts):
        near.add(number, text)
    found = near.find(texts.__getitem__)
    clusters = {tuple(cluster) for cluster in found.clusters}
    true = {(i, i + 1) for i in range(0, len(texts), 2) if jaccard(texts[i], texts[i + 1]) >= 0.7}
    assert clusters <= true, "what is called a duplicate is one"
    assert len(clusters) >= 0.97 * len(true)
    for pair in found.review:
        assert 0.55 <= pair.similarity < 0.7
        assert pair.similarity == pytest.approx(jaccard(texts[pair.first], texts[pair.second]))


def test_many_copies_are_one_cluster_and_case_does_not_matter() -> None:
    rng = random.Random(1)
    words = essay(rng)
    texts = [" ".join(words), *(" ".join(edited(rng, words, 1)).upper() for _ in range(99))]
    near = NearDuplicates(0.7)
    for number, text in enumerate(texts):
        near.add(7 * number, text)
    (cluster,) = near.find(lambda number: texts[number // 7]).clusters
    assert cluster == [7 * number for number in range(100)]


def test_short_texts_are_not_judged() -> None:
    near = NearDuplicates(0.7)
    for number in range(4):
        near.add(number, "what is the capital of France")
    assert near.find(lambda _: "").clusters == []


def chats() -> list[Conversation]:
    rng = random.Random(9)
    made = []
    for number in range(40):
        question, answer = " ".join(essay(rng, 20)), essay(rng)
        said = f"It is what you would have of the {' of the '.join(answer)} and that is all."
        for copy, reply in enumerate((said, f"Sure! {said} I hope this helps.")):
            turns = [("user", question), ("assistant", reply)]
            when = f"2026-01-{1 + copy:02d}"
            made.append(Conversation.from_turns(turns, id=f"{number}-{copy}", created_at=when))
    return made


def test_the_best_of_a_cluster_stays_and_carries_the_name_of_the_oldest() -> None:
    given = chats()
    better = "\n".join(f"{m.text}." for m in given[1].messages[1:])
    given[1] = Conversation.from_turns(
        [("user", given[1].messages[0].text), ("assistant", better)],
        id="0-1",
        created_at="2026-01-02",
    )
    given[0] = Conversation.from_turns(
        [
            ("user", given[0].messages[0].text),
            ("assistant", better.replace(".", " ... ... ... ... ... ... ...")),
        ],
        id="0-0",
        created_at="2026-01-01",
    )
    twin = {c.id: given[place ^ 1] for place, c in enumerate(given)}
    report = DataCleaner().clean(given)
    assert sorted(int(c.id.partition("-")[0]) for c in report.kept) == list(range(40))
    assert report.kept[0].id == "0-1"
    assert all(quality(c).score >= quality(twin[c.id]).score for c in report.kept)
    assert {item.reason for item in report.dropped} == {"near_duplicate"}
    assert report.clusters["0-1"] == "0-0"
    assert all(any(item.conversation is c for c in given) for item in report.dropped)


def test_without_the_step_all_stay_and_clusters_are_named() -> None:
    report = DataCleaner(skip=["near_duplicate"]).clean(chats())
    assert len(report.kept) == 80
    assert report.clusters == {f"{n}-{copy}": f"{n}-0" for n in range(40) for copy in range(2)}


def test_a_stream_says_the_same_as_a_list() -> None:
    given = [*chats(), Conversation(id="nothing")]
    report = DataCleaner().clean(given)
    run = DataCleaner().stream(iter(given))
    outcomes = list(run)
    kept = [one for one in outcomes if not isinstance(one, Dropped)]
    assert kept == report.kept
    assert {o.conversation.id for o in outcomes if isinstance(o, Dropped)} == {
        item.conversation.id for item in report.dropped
    }
    told = [run.counts, report.counts]
    for counts in told:
        for step in counts["steps"]:
            step.pop("cpu_s")
    assert told[0] == told[1]
    assert run.clusters == report.clusters
