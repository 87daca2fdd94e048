"""Crops: where they lie, what counts in them, and that a seed gives them again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from calcium_scoring.model_input.intensity import hu_to_model_units
from calcium_scoring.model_input.spec import ModelSpec
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import CORONARY, Artery, LabelMap
from model_training.augmentation import NO_AUGMENTATION, AugmentationConfig, Pose
from model_training.cases import TrainingCase, write_case
from model_training.dataset import (
    CropDataset,
    CropSampler,
    Placement,
    SamplingConfig,
    WindowDataset,
    label_planes,
)

SPEC = ModelSpec()


def crops_around(case: TrainingCase, **parts: float) -> CropDataset:
    sampling = SamplingConfig(
        crop_size=32,
        **{"calcium_part": 0.0, "confuser_part": 0.0, "dense_part": 0.0, **parts},  # type: ignore[arg-type]
    )
    return CropDataset([case], SPEC, sampling, NO_AUGMENTATION, seed=0, length=20)


def middle_hu(crop: torch.Tensor) -> float:
    low, high = SPEC.hu_range
    size = crop.shape[-1]
    middle = crop[
        SPEC.slice_count // 2, size // 2 - 1 : size // 2 + 1, size // 2 - 1 : size // 2 + 1
    ]
    return float(middle.max()) * (high - low) + low


def test_crops_around_calcium_have_it_in_the_middle(case: TrainingCase) -> None:
    crops = crops_around(case, calcium_part=1.0)

    for index in range(len(crops)):
        patch = crops[index]
        assert middle_hu(patch["ct_patch"]) == pytest.approx(400.0, abs=30.0)
        assert patch["reference"][0, 14:18, 14:18].any()


def test_crops_around_confusers_have_no_calcium_in_the_middle(case: TrainingCase) -> None:
    crops = crops_around(case, confuser_part=1.0)

    for index in range(len(crops)):
        patch = crops[index]
        assert middle_hu(patch["ct_patch"]) == pytest.approx(500.0, abs=30.0)
        assert not patch["reference"][0, 14:18, 14:18].any()


def test_crop_without_augmentation_shows_what_serving_sees(case: TrainingCase) -> None:
    """At the place of a whole-slice pixel, a crop reads the same value, to float rounding."""
    windows = WindowDataset(case, SPEC)
    placement = Placement(case.geometry, SPEC, (30.0, 25.0), (21, 21), Pose(1.0, 0.0, (0.0, 0.0)))

    crop = hu_to_model_units(placement.resample(case.hu[5], -1024.0), SPEC.hu_range)

    assert crop == pytest.approx(windows.model_input.slices[5, 20:41, 15:36], abs=1e-4)


def test_shift_moves_the_crop_by_millimetres(case: TrainingCase) -> None:
    def offset(shift_mm: tuple[float, float]) -> np.ndarray:
        pose = Pose(1.0, 0.0, shift_mm)
        return Placement(case.geometry, SPEC, (30.0, 25.0), (16, 16), pose).to_scan()[1]

    # 8 mm are 10 pixels of 0.8 mm.
    assert offset((8.0, -4.0)) - offset((0.0, 0.0)) == pytest.approx([10.0, -5.0])


def test_crop_of_an_enlarging_pose_covers_more_of_the_scan(case: TrainingCase) -> None:
    pose = Pose(2.0, 0.0, (0.0, 0.0))

    matrix, _ = Placement(case.geometry, SPEC, (30.0, 25.0), (16, 16), pose).to_scan()

    assert matrix == pytest.approx(np.diag([2.0 * 0.7 / 0.8] * 2))


def test_same_index_gives_the_same_crop_whoever_asks(case: TrainingCase) -> None:
    def dataset() -> CropDataset:
        return CropDataset(
            [case], SPEC, SamplingConfig(crop_size=32), AugmentationConfig(), seed=4, length=8
        )

    first, again = dataset(), dataset()
    _ = again[0]

    assert torch.equal(first[5]["ct_patch"], again[5]["ct_patch"])
    assert not torch.equal(first[5]["ct_patch"], first[6]["ct_patch"])


def test_rim_of_calcium_below_the_threshold_does_not_count(case: TrainingCase) -> None:
    patch = crops_around(case, calcium_part=1.0)[0]
    reference, is_counted = patch["reference"][0] > 0.5, patch["is_counted"][0]

    assert is_counted[reference].all()
    assert not is_counted.all()
    assert not patch["is_dense"][0][~is_counted].any()


def test_whole_slice_counts_every_pixel_and_knows_its_calcium(case: TrainingCase) -> None:
    windows = WindowDataset(case, SPEC)

    patch = windows[5]

    assert len(windows) == 11
    assert patch["is_counted"].all()
    # 4 x 4 pixels of 0.8 mm in pixels of 0.7 mm, with the rim of the linear resampling.
    assert 16 <= patch["reference"].sum() <= 36
    assert not windows[0]["reference"].any()


def test_single_pixel_of_calcium_is_never_lost_between_the_grids(tmp_path: Path) -> None:
    geometry = VolumeGeometry.axial((1, 20, 20), (3.0, 0.8, 0.8))
    labels = np.zeros(geometry.shape, dtype=np.uint8)
    labels[0, 3:18:4, 3:18:4] = CORONARY
    case = write_case(
        tmp_path,
        "dots",
        split="train",
        volume=CtVolume(geometry, np.full(geometry.shape, 40.0, dtype=np.float32)),
        reference=LabelMap(geometry, labels),
        confusers=np.zeros(geometry.shape, dtype=np.uint8),
    )

    reference = WindowDataset(case, SPEC)[0]["reference"][0].numpy()

    for row in range(3, 18, 4):
        for column in range(3, 18, 4):
            # Centre of the scan's pixel in pixels of the network's grid.
            r, c = ((index + 0.5) * 0.8 / 0.7 - 0.5 for index in (row, column))
            assert reference[int(r) : int(r) + 2, int(c) : int(c) + 2].any()


def test_planes_follow_the_labels_of_the_model() -> None:
    labels = np.array([[0, Artery.LAD, Artery.RCA, CORONARY]], dtype=np.uint8)

    planes = label_planes(labels, ("CORONARY", "LAD", "RCA"))

    assert planes.astype(int).tolist() == [[[0, 1, 1, 1]], [[0, 1, 0, 0]], [[0, 0, 1, 0]]]


def test_case_without_calcium_gives_dense_crops_instead(tmp_path: Path, case: TrainingCase) -> None:
    volume = case.load_volume()
    blank = write_case(
        tmp_path,
        "blank",
        split="train",
        volume=volume,
        reference=LabelMap(volume.geometry, np.zeros(volume.geometry.shape, dtype=np.uint8)),
        confusers=np.array(case.confusers),
    )
    sampler = CropSampler(
        blank,
        SPEC,
        SamplingConfig(crop_size=32, calcium_part=1.0, confuser_part=0.0, dense_part=0.0),
        NO_AUGMENTATION,
    )

    patch = sampler.draw(np.random.default_rng(0))

    assert middle_hu(patch["ct_patch"]) >= 130.0
    assert not patch["reference"].any()


def test_parts_that_exceed_one_are_refused() -> None:
    with pytest.raises(ValueError, match="sum to at most 1"):
        SamplingConfig(calcium_part=0.9, dense_part=0.3)
