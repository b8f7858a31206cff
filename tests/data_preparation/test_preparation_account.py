"""What a manifest says of lost replies, as an account; older manifests are read too."""

from __future__ import annotations

from typing import Any, cast

from fine_tuning.data_preparation.manifest import DatasetManifest
from fine_tuning.data_preparation.preparation_account import preparation_accounts, reply_account


def manifest(**facts: Any) -> DatasetManifest:
    splits = {name: {"replies": number} for name, number in (("train", 50), ("test", 4))}
    raw = {"splits": splits, "settings": {"max_length": 2048, "truncation": "cut"}, **facts}
    return cast("DatasetManifest", raw)


def test_replies_beyond_the_longest_sequence_are_told_with_the_value_that_keeps_them() -> None:
    account = reply_account(
        manifest(lost_replies={"beyond max_length": 246}, needed_length=8192, cut_replies=2)
    )
    assert (account.kept, account.num_in, account.num_cut) == (54, 300, 2)
    assert account.remarks == [
        "beyond max_length: 246 of 300 replies are left out; "  # noqa: ISC004 - one line
        "data_preparation.max_length=8192 would keep 95 % of them"
    ]


def test_without_a_value_the_setting_is_named() -> None:
    for needed in ({}, {"needed_length": 2048}, {"needed_length": 17}):
        account = reply_account(manifest(lost_replies={"beyond max_length": 246}, **needed))
        assert "raise data_preparation.max_length" in account.remarks[0]
        assert "=2048" not in account.remarks[0], "the value in force helps nobody"


def test_conversations_that_were_dropped_are_told_only_when_some_were() -> None:
    whole = manifest(conversations={"given": 9, "kept": 9, "dropped": {}})
    assert [one.unit for one in preparation_accounts(whole)] == ["replies"]
    some = manifest(conversations={"given": 9, "kept": 7, "dropped": {"damaged tree": 2}})
    dropped, replies = preparation_accounts(some)
    assert (dropped.title, dropped.num_in) == ("conversations prepared", 9)
    assert replies.num_left_out == 0


def test_an_old_manifest_without_losses_is_an_account_of_what_it_holds() -> None:
    account = reply_account(manifest())
    assert (account.kept, account.left_out) == (54, {})


def test_replies_that_a_manifest_counts_itself_are_taken_from_there() -> None:
    counted = manifest(replies={"given": 300, "kept": 60}, lost_replies={"stands in train": 240})
    account = reply_account(counted)
    assert (account.num_in, account.kept) == (300, 60)
    assert account.remarks == [], "they are trained on, in train"
