"""What a model file says of itself: two kinds of output, and nothing that is half understood."""

from __future__ import annotations

import json

import pytest

from calcium_scoring.errors import ModelRejected
from calcium_scoring.model_input.heart_region import HeartSpec
from calcium_scoring.model_input.spec import ALL_LABELS, CORONARY_LABEL, ModelSpec


def changed(text: str, **values: object) -> str:
    return json.dumps({**json.loads(text), **values})


def without(text: str, name: str) -> str:
    return json.dumps({key: value for key, value in json.loads(text).items() if key != name})


@pytest.mark.parametrize("labels", [(CORONARY_LABEL,), ALL_LABELS])
def test_a_specification_survives_the_way_through_a_file(labels: tuple[str, ...]) -> None:
    spec = ModelSpec(model_version="1.2.3", labels=labels)

    assert ModelSpec.from_json(spec.to_json()) == spec
    assert spec.has_artery_labels == (labels == ALL_LABELS)


def test_the_channel_that_decides_is_the_first_and_arteries_come_before_confusers() -> None:
    assert ALL_LABELS == ("CORONARY", "LM", "LAD", "LCX", "RCA", "AORTA", "VALVE", "OTHER")


@pytest.mark.parametrize("labels", [(), ("LM", "LAD", "LCX", "RCA"), ALL_LABELS[::-1]])
def test_output_channels_in_any_other_order_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="CORONARY alone or CORONARY, LM, LAD"):
        ModelSpec(labels=labels)
    with pytest.raises(ModelRejected, match="cannot be used"):
        ModelSpec.from_json(changed(ModelSpec().to_json(), labels=labels))


@pytest.mark.parametrize("kind", [ModelSpec, HeartSpec])
@pytest.mark.parametrize("text", ["", "[]", "{}", "5"])
def test_text_that_is_no_specification_is_refused(
    kind: type[ModelSpec | HeartSpec], text: str
) -> None:
    with pytest.raises(ModelRejected, match="no readable"):
        kind.from_json(text)


@pytest.mark.parametrize("version", [1, 2])
def test_a_model_of_an_earlier_version_is_refused_by_name(version: int) -> None:
    """Channels of the first were sigmoids beside each other: as a softmax they would name
    arteries."""
    with pytest.raises(ModelRejected, match=f"version {version}; this cacscore reads version 3"):
        ModelSpec.from_json(changed(ModelSpec().to_json(), spec_version=version))


@pytest.mark.parametrize(
    ("piece_share", "naming_weight"), [(1.1, 0.0), (-0.1, 0.0), (0.0, -0.5), (0.0, float("nan"))]
)
def test_a_rule_of_decision_out_of_range_is_refused(
    piece_share: float, naming_weight: float
) -> None:
    with pytest.raises(ValueError, match="are accepted"):
        ModelSpec(labels=ALL_LABELS, piece_share=piece_share, naming_weight=naming_weight)


def test_a_network_that_names_nothing_gives_the_naming_no_say() -> None:
    with pytest.raises(ValueError, match="only 0 is accepted"):
        ModelSpec(naming_weight=0.5)


def test_a_heart_finder_of_another_version_is_refused_by_name() -> None:
    with pytest.raises(ModelRejected, match="HeartSpec version 2; this cacscore reads version 1"):
        HeartSpec.from_json(changed(HeartSpec().to_json(), spec_version=2))


@pytest.mark.parametrize("kind", [ModelSpec, HeartSpec])
def test_a_specification_with_one_field_more_or_less_is_refused(
    kind: type[ModelSpec | HeartSpec],
) -> None:
    text = kind().to_json()

    with pytest.raises(ModelRejected, match="unknown or missing fields: mood"):
        kind.from_json(changed(text, mood="good"))
    with pytest.raises(ModelRejected, match="unknown or missing fields: hu_range"):
        kind.from_json(without(text, "hu_range"))


def test_a_heart_specification_survives_the_way_through_a_file() -> None:
    spec = HeartSpec(model_version="2.0.1", spacing_mm=5.0, margin_mm=12.5)

    assert HeartSpec.from_json(spec.to_json()) == spec
