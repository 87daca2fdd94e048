"""Settings: what ships, what the paper fixes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from calcium_scoring.model_input.spec import ALL_LABELS
from model_training.settings import TrainingConfig, read_training_config, training_config_from


def test_paper_settings_are_those_of_its_section_three() -> None:
    config = read_training_config("paper")

    assert (config.epochs, config.batch_size) == (25, 1)
    assert config.network.rau
    assert config.network.edb
    assert config.network.scse
    assert config.loss.iou
    optimizer = config.optimizer
    assert (optimizer.kind, optimizer.momentum) == ("sgd", 0.9)
    assert (optimizer.learning_rate, optimizer.decay_factor) == (0.001, 0.99)
    assert (optimizer.schedule, optimizer.decay_steps) == ("exponential", 2000)


def test_provisional_settings_differ_in_width_only_not_in_tricks() -> None:
    network = read_training_config("provisional").network

    assert network.rau
    assert network.edb
    assert network.scse
    assert network.block_layers == (6, 12, 24, 16)


@pytest.mark.parametrize("name", ["bundled", "paper", "provisional"])
def test_settings_survive_a_checkpoint(name: str) -> None:
    config = read_training_config(name)

    assert training_config_from(config.as_dict()) == config


def test_file_of_the_user_is_read_by_path(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('name = "own"\n[loss]\niou = false\n')

    config = read_training_config(str(path))

    assert config.name == "own"
    assert not config.loss.iou
    assert config.network == TrainingConfig().network


def test_misspelt_setting_is_named() -> None:
    with pytest.raises(ValueError, match=r"loss\.iuo"):
        training_config_from({"loss": {"iuo": True}})


def test_settings_that_do_not_exist_are_answered_with_those_that_do() -> None:
    with pytest.raises(ValueError, match="bundled, paper, provisional"):
        read_training_config("papre")


def test_each_label_needs_an_output_channel() -> None:
    with pytest.raises(ValueError, match="1 output channels for 2 labels"):
        TrainingConfig(labels=("LAD", "RCA"))


def test_model_spec_carries_what_the_network_was_trained_on() -> None:
    spec = read_training_config("provisional").model_spec(model_version="1.2.3")

    assert spec.model_version == "1.2.3"
    assert spec.is_provisional
    assert (spec.slice_count, spec.pixel_spacing_mm, spec.size_multiple) == (9, 0.7, 16)
    assert spec.labels == ("CORONARY",)


def test_bundled_settings_name_arteries_and_confusers_with_every_trick_of_the_paper() -> None:
    config = read_training_config("bundled")

    spec = config.model_spec(model_version="1.0.0", is_provisional=False)
    assert spec.labels == ALL_LABELS
    assert spec.has_artery_labels
    assert config.network.label_count == len(ALL_LABELS)
    assert config.network.rau
    assert config.network.edb
    assert config.network.scse
    assert config.loss.iou


def test_labels_that_no_model_file_may_carry_fail_before_a_run_begins() -> None:
    config = training_config_from({"labels": ["LAD", "RCA"], "network": {"label_count": 2}})

    with pytest.raises(ValueError, match="channels LAD, RCA are unknown"):
        config.model_spec(model_version="training")
