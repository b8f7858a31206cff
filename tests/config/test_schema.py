"""The schema is frozen, described, and the same in the file, the page and the code."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fine_tuning.config.data_sections import (
    FormatType,
    ModerationName,
    PrivateKind,
    StepName,
    TrainOn,
    Truncation,
)
from fine_tuning.config.schema import (
    TARGET_MODULES,
    ComputeDtype,
    Metric,
    PrimaryMetric,
    Schedule,
    Settings,
)
from fine_tuning.config.settings_reference import (
    Setting,
    settings_file,
    settings_page,
    settings_reference,
    yaml_value,
)
from fine_tuning.config.yaml_text import bare, parse_mapping, parse_value
from fine_tuning.core.formats import FORMATS
from fine_tuning.data_collection.cleaning_steps import STEP_NAMES
from fine_tuning.data_collection.moderation import CLASSIFIERS
from fine_tuning.data_collection.private_values import DEFAULT_REGIONS, KINDS
from fine_tuning.data_preparation.formatter import POLICIES
from fine_tuning.data_preparation.masking import TRUNCATIONS
from fine_tuning.engine.peft_files import FUSED_PEFT_MODULES, PEFT_MODULES
from fine_tuning.evaluation.evaluator import LIKELIHOOD_METRICS, REPLY_METRICS
from fine_tuning.evaluation.gate import PRIMARY_SUITES
from fine_tuning.training import plan

ALL = [setting for group in settings_reference().values() for setting in group]


@pytest.mark.parametrize("setting", ALL, ids=lambda setting: setting.dotted)
def test_every_setting_has_a_sentence_and_says_what_null_means(setting: Setting) -> None:
    assert setting.meaning.endswith(".")
    assert len(setting.meaning) > 20
    if "null" in setting.accepts:
        assert "null " in setting.meaning


@pytest.mark.parametrize("setting", ALL, ids=lambda setting: setting.dotted)
def test_every_setting_stands_on_the_page(setting: Setting) -> None:
    assert f"**`{setting.key}`**" in settings_page()


def test_the_file_holds_exactly_the_defaults() -> None:
    assert bare(parse_mapping(settings_file())) == Settings().model_dump(mode="json")


def test_the_names_settings_accept_are_those_the_rooms_know() -> None:
    """Rooms do not import the schema, so each has its own list; here they meet."""
    assert get_args(FormatType) == FORMATS
    assert get_args(StepName) == STEP_NAMES
    assert get_args(PrivateKind) == KINDS
    assert get_args(ModerationName) == CLASSIFIERS
    assert get_args(TrainOn) == POLICIES
    assert get_args(Truncation) == TRUNCATIONS
    assert Settings().data_collection.phone_regions == DEFAULT_REGIONS
    assert set(TARGET_MODULES) == {*PEFT_MODULES, *FUSED_PEFT_MODULES}
    assert set(get_args(Metric)) == {*LIKELIHOOD_METRICS, *REPLY_METRICS}
    assert set(get_args(PrimaryMetric)) <= set(PRIMARY_SUITES)
    assert get_args(Schedule) == get_args(plan.Schedule)
    assert get_args(ComputeDtype) == get_args(plan.ComputeDtype)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().training.lora_r = 8


def test_thirds_add_up_to_one() -> None:
    shares = {"train_ratio": 1 / 3, "validation_ratio": 1 / 3, "test_ratio": 1 / 3}
    assert Settings.model_validate({"data_preparation": shares})
    decimals = {"train_ratio": 0.7, "validation_ratio": 0.2, "test_ratio": 0.1}
    assert Settings.model_validate({"data_preparation": decimals})


plain = st.text("abc xyz_-./~@%&", min_size=1, max_size=20)


@given(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(0, 1, allow_subnormal=False).map(lambda number: float(f"{number:.5g}")),
        plain,
        st.lists(plain, max_size=4),
    )
)
def test_what_is_written_is_read_back(value: object) -> None:
    assert parse_value(yaml_value(value)) == value
