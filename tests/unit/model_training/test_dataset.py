"""Crops: where they lie, what counts in them, and that a seed gives them again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from calcium_scoring.model_input.intensity import hu_to_model_units
from calcium_scoring.model_input.spec import ALL_LABELS, ModelSpec
from calcium_scoring.phantom.structures import Structure
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import CORONARY, Artery, LabelMap
from model_training.augmentation import NO_AUGMENTATION, AugmentationConfig, Pose
from model_training.cases import TrainingCase, write_case
from model_training.dataset import (
    HARD_VOXELS_FILE,
    CropDataset,
    CropSampler,
    Placement,
    SamplingConfig,
    WindowDataset,
    box_near,
    draw_source,
)
from model_training.losses import UNKNOWN_KIND

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


NAMING = replace(SPEC, labels=ALL_LABELS, pixel_spacing_mm=0.8)
"""On the grid of the cases below, so that a pixel is the same in both."""

DENSE_THINGS = {
    # (row, column) of a block of 4 x 4 pixels: label, structure, name of its channel
    (4, 4): (Artery.LM, Structure.NONE, "LM"),
    (4, 14): (Artery.LAD, Structure.NONE, "LAD"),
    (4, 24): (Artery.LCX, Structure.NONE, "LCX"),
    (4, 34): (Artery.RCA, Structure.NONE, "RCA"),
    (14, 4): (0, Structure.AORTIC_WALL_CALCIUM, "AORTA"),
    (14, 14): (0, Structure.AORTIC_VALVE_CALCIUM, "VALVE"),
    (14, 24): (0, Structure.MITRAL_ANNULUS_CALCIUM, "VALVE"),
    (14, 34): (0, Structure.METAL, "OTHER"),
    (24, 4): (0, Structure.VESSEL_WALL_CALCIUM, "OTHER"),
}
UNNAMED_CALCIUM, BONE = (24, 14), (24, 24)


def case_of_dense_things(root: Path, *, are_confusers_complete: bool) -> TrainingCase:
    geometry = VolumeGeometry.axial((3, 40, 48), (3.0, 0.8, 0.8))
    hu = np.full(geometry.shape, 40.0, dtype=np.float32)
    labels = np.zeros(geometry.shape, dtype=np.uint8)
    confusers = np.zeros(geometry.shape, dtype=np.uint8)
    things: list[tuple[tuple[int, int], int, int]] = [
        (at, label, structure) for at, (label, structure, _) in DENSE_THINGS.items()
    ]
    for (row, column), label, structure in (
        *things,
        (UNNAMED_CALCIUM, CORONARY, 0),
        (BONE, 0, 0),
    ):
        block = np.s_[1, row : row + 4, column : column + 4]
        hu[block], labels[block], confusers[block] = 500.0, label, structure
    return write_case(
        root,
        "dense",
        split="train",
        volume=CtVolume(geometry, hu),
        reference=LabelMap(geometry, labels),
        confusers=confusers,
        are_confusers_complete=are_confusers_complete,
    )


def kinds_at(kind: torch.Tensor, at: tuple[int, int]) -> set[str]:
    """What the pixels of a block are called."""
    numbers = set(kind[at[0] : at[0] + 4, at[1] : at[1] + 4].flatten().tolist())
    names = {**dict(enumerate(ALL_LABELS[1:])), UNKNOWN_KIND: "unknown"}
    return {names[number] for number in numbers}


@pytest.mark.parametrize("are_confusers_complete", [False, True])
def test_dense_pixels_are_called_what_the_case_says(
    tmp_path: Path,
    are_confusers_complete: bool,
) -> None:
    case = case_of_dense_things(tmp_path, are_confusers_complete=are_confusers_complete)

    kind = WindowDataset(case, NAMING)[1]["kind"]

    for at, (_, _, name) in DENSE_THINGS.items():
        assert kinds_at(kind, at) == {name}
    # Of a patient's scan nobody says that what is not named is bone and not a valve.
    assert kinds_at(kind, BONE) == {"OTHER" if are_confusers_complete else "unknown"}
    assert kinds_at(kind, UNNAMED_CALCIUM) == {"unknown"}
    assert kinds_at(kind, (34, 40)) == {"unknown"}, "soft tissue has no kind"


def test_a_binary_network_is_told_no_kind(tmp_path: Path) -> None:
    case = case_of_dense_things(tmp_path, are_confusers_complete=True)

    kind = WindowDataset(case, SPEC)[1]["kind"]

    assert set(kind.flatten().tolist()) == {UNKNOWN_KIND}


@pytest.mark.parametrize("seed", range(6))
def test_the_rim_of_a_plaque_is_never_called_something_else(tmp_path: Path, seed: int) -> None:
    """A rim pixel of which a quarter is calcium of 500 HU is dense, and no bone."""
    case = case_of_dense_things(tmp_path, are_confusers_complete=True)
    sampling = SamplingConfig(
        crop_size=16, calcium_part=1.0, confuser_part=0.0, dense_part=0.0, lesion_part=0.0
    )
    sampler = CropSampler(case, NAMING, sampling, NO_AUGMENTATION)
    _, row, column = sampler.draw_centre(np.random.default_rng(seed))
    label = int(case.labels[1, row, column])

    # The middle of a crop of 16 pixels lies between two of them: half a pixel off the scan's.
    kind = sampler.draw(np.random.default_rng(seed))["kind"][4:12, 4:12]

    name = "unknown" if label == CORONARY else Artery(label).name
    numbers = {UNKNOWN_KIND: "unknown", **dict(enumerate(ALL_LABELS[1:]))}
    assert {numbers[number] for number in kind.flatten().tolist()} == {name, "unknown"}


def lesions_case(root: Path) -> TrainingCase:
    """A lesion of one voxel and one of 400 voxels, of which two hang on by a corner."""
    geometry = VolumeGeometry.axial((6, 60, 60), (3.0, 0.8, 0.8))
    labels = np.zeros(geometry.shape, dtype=np.uint8)
    labels[0, 5, 5] = Artery.LM
    labels[2:4, 30:40, 30:50] = Artery.RCA
    labels[2, 30, 30], labels[2, 29, 29] = 0, Artery.RCA
    hu = np.where(labels > 0, np.float32(400.0), np.float32(40.0))
    return write_case(
        root,
        "lesions",
        split="train",
        volume=CtVolume(geometry, hu),
        reference=LabelMap(geometry, labels),
        confusers=np.zeros(geometry.shape, dtype=np.uint8),
    )


@pytest.mark.parametrize(
    ("lesion_part", "share_of_the_small"), [(1.0, 0.5), (0.5, 0.25), (0.0, 1 / 401)]
)
def test_a_small_lesion_is_drawn_as_often_as_a_large_one_where_lesions_are_drawn_first(
    tmp_path: Path, lesion_part: float, share_of_the_small: float
) -> None:
    sampling = SamplingConfig(
        crop_size=16, calcium_part=1.0, confuser_part=0.0, dense_part=0.0, lesion_part=lesion_part
    )
    sampler = CropSampler(lesions_case(tmp_path), SPEC, sampling, NO_AUGMENTATION)
    rng = np.random.default_rng(0)

    slices = np.array([sampler.draw_centre(rng)[0] for _ in range(1000)])

    # Within three standard deviations of a binomial draw of 1000.
    deviation = (share_of_the_small * (1.0 - share_of_the_small) / 1000.0) ** 0.5
    assert np.mean(slices == 0) == pytest.approx(share_of_the_small, abs=3.0 * deviation)


def test_voxels_that_touch_by_a_corner_are_one_lesion(tmp_path: Path) -> None:
    sampler = CropSampler(lesions_case(tmp_path), SPEC, SamplingConfig(), NO_AUGMENTATION)

    lesions = [
        voxels
        for source in sampler.sources
        if source[0] == "lesion"
        for voxels in sampler.voxels(source)
    ]
    assert sorted(len(voxels) for voxels in lesions) == [1, 400]


def test_an_artery_of_few_lesions_is_drawn_as_often_as_one_of_many() -> None:
    sampling = SamplingConfig(calcium_part=1.0, confuser_part=0.0, dense_part=0.0, lesion_part=1.0)
    sources = [("body", 0), ("calcium", 0), ("lesion", Artery.LM), ("lesion", Artery.LAD)]
    rng = np.random.default_rng(0)

    drawn = [draw_source(sources, sampling, rng) for _ in range(1000)]

    assert set(drawn) == {("lesion", Artery.LM), ("lesion", Artery.LAD)}
    assert drawn.count(("lesion", Artery.LM)) == pytest.approx(500, abs=3.0 * 250.0**0.5)


def test_what_no_case_holds_gives_way_to_dense_voxels_and_these_to_the_body() -> None:
    sampling = SamplingConfig(calcium_part=1.0, confuser_part=0.0, dense_part=0.0)
    rng = np.random.default_rng(0)

    assert draw_source([("body", 0), ("dense", 0)], sampling, rng) == ("dense", 0)
    assert draw_source([("body", 0)], sampling, rng) == ("body", 0)
    with pytest.raises(ValueError, match="nothing above"):
        draw_source([], sampling, rng)


def heart_case(root: Path) -> TrainingCase:
    """A heart, bone beside it, and far more bone 60 mm away."""
    geometry = VolumeGeometry.axial((20, 60, 60), (5.0, 2.0, 2.0))
    hu = np.full(geometry.shape, 40.0, dtype=np.float32)
    hu[:, 14, 10:20] = 700.0
    hu[:, 40:56, 40:56] = 700.0
    heart = np.zeros(geometry.shape, dtype=np.bool_)
    heart[8:12, 16:24, 6:20] = True
    return write_case(
        root,
        "heart",
        split="train",
        volume=CtVolume(geometry, hu),
        reference=LabelMap(geometry, np.zeros(geometry.shape, dtype=np.uint8)),
        confusers=np.zeros(geometry.shape, dtype=np.uint8),
        heart=heart,
    )


def centres_of(case: TrainingCase, **parts: float) -> np.ndarray:
    sampling = SamplingConfig(
        **{"calcium_part": 0.0, "confuser_part": 0.0, "dense_part": 0.0, **parts},  # type: ignore[arg-type]
    )
    sampler = CropSampler(case, SPEC, sampling, NO_AUGMENTATION)
    rng = np.random.default_rng(0)
    return np.array([sampler.draw_centre(rng) for _ in range(400)])


@pytest.mark.parametrize("kind", ["dense_part", "body"])
def test_crops_are_drawn_near_the_heart_where_it_is_known(tmp_path: Path, kind: str) -> None:
    parts = {kind: 1.0} if kind != "body" else {}

    centres = centres_of(heart_case(tmp_path), outside_part=0.0, heart_margin_mm=10.0, **parts)

    # 10 mm are 2 slices and 5 pixels.
    assert centres.min(axis=0).tolist() >= [6, 11, 1]
    assert (centres <= [13, 28, 24]).all()


def test_part_of_the_crops_is_drawn_anywhere(tmp_path: Path) -> None:
    centres = centres_of(heart_case(tmp_path), dense_part=1.0, outside_part=0.5)

    # Anywhere, 20 x 256 of 20 x 266 dense voxels lie in the large bone.
    in_the_large_bone = np.mean(centres[:, 1] >= 40)
    assert in_the_large_bone == pytest.approx(0.5 * 256 / 266, abs=0.075)


def test_the_box_around_a_heart_is_wider_by_its_margin_in_millimetres() -> None:
    geometry = VolumeGeometry.axial((40, 60, 60), (2.5, 0.8, 0.5))
    heart = np.zeros(geometry.shape, dtype=np.bool_)
    heart[20, 30, 8] = heart[24, 35, 12] = True

    # 8 mm are 3.2 slices, 10 rows and 16 columns; a box begins no earlier than the scan.
    assert box_near(heart, geometry, 8.0) == np.s_[17:28, 20:46, 0:29]


def test_calcium_far_from_the_heart_is_still_drawn(tmp_path: Path) -> None:
    """Where coronary calcium is marked, the mask of the heart is not asked."""
    near = heart_case(tmp_path / "near")
    labels = np.zeros(near.geometry.shape, dtype=np.uint8)
    labels[1, 50, 50] = CORONARY
    assert near.heart is not None
    case = write_case(
        tmp_path,
        "far",
        split="train",
        volume=near.load_volume(),
        reference=LabelMap(near.geometry, labels),
        confusers=np.array(near.confusers),
        heart=near.heart > 0,
    )

    centres = centres_of(case, calcium_part=1.0, outside_part=0.0)

    assert np.unique(centres, axis=0).tolist() == [[1, 50, 50]]


def test_crops_are_drawn_around_what_an_earlier_network_got_wrong(tmp_path: Path) -> None:
    case = heart_case(tmp_path)
    np.save(case.folder / HARD_VOXELS_FILE, np.array([[3, 5, 7], [11, 2, 40]], dtype=np.int32))

    centres = centres_of(case, hard_part=1.0)

    assert np.unique(centres, axis=0).tolist() == [[3, 5, 7], [11, 2, 40]]


def test_case_where_no_mistakes_were_looked_for_gives_dense_crops_instead(tmp_path: Path) -> None:
    case = heart_case(tmp_path)

    centres = centres_of(case, hard_part=1.0)

    assert (case.hu[tuple(centres.T)] >= 130).all()
