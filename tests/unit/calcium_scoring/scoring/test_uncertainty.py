"""What is said of repeat scans: the same every time, wider with noise, silent where nothing is."""

from __future__ import annotations

import numpy as np
import pytest

from calcium_scoring.scoring.conventions import ORCASCORE
from calcium_scoring.scoring.image_noise import ImageNoise
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.scoring.report import measure_calcium
from calcium_scoring.scoring.uncertainty import (
    ScoreUncertainty,
    UncertaintyGap,
    _interpolation,
    _noise,
    score_uncertainty,
)
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import LabelMap, MaskArray

SHAPE = (12, 96, 96)
PLAQUE = np.s_[5:7, 40:50, 40:50]
"""Two slices of 5 x 5 mm: 100 Agatston between 200 and 300 HU."""
SPECK = np.s_[5, 40, 40:43]
"""Three pixels of 0.25 mm2: one short of the smallest lesion."""


def scan(
    part: tuple[slice | int, ...] = PLAQUE,
    *,
    hu: float = 250.0,
    noise_sd_hu: float = 10.0,
    tissue_hu: float = 45.0,
) -> tuple[CtVolume, MaskArray]:
    values = np.random.default_rng(3).normal(tissue_hu, noise_sd_hu, SHAPE)
    mask = np.zeros(SHAPE, dtype=np.bool_)
    mask[part] = True
    values[mask] += hu - tissue_hu
    geometry = VolumeGeometry.axial(SHAPE, (3.0, 0.5, 0.5))
    return CtVolume(geometry, values.astype(np.float32)), mask


def of_scan(volume: CtVolume, mask: MaskArray) -> tuple[float, ScoreUncertainty | UncertaintyGap]:
    label_map = LabelMap.from_mask(volume.geometry, mask)
    report = measure_calcium(volume, label_map, protocol=LITERATURE, has_artery_labels=False)
    score = report.total.agatston_score
    return score, score_uncertainty(volume, label_map, LITERATURE, score)


def known(volume: CtVolume, mask: MaskArray) -> ScoreUncertainty:
    _, uncertainty = of_scan(volume, mask)
    assert isinstance(uncertainty, ScoreUncertainty)
    return uncertainty


def test_the_interval_holds_the_score_and_is_the_same_every_time() -> None:
    volume, mask = scan()
    score, first = of_scan(volume, mask)
    _, again = of_scan(*scan())

    assert isinstance(first, ScoreUncertainty)
    assert first.low < score < first.high
    assert first == again


def test_whole_numbers_of_16_bits_give_the_same_interval_as_floating_point() -> None:
    volume, mask = scan()
    rounded = np.rint(volume.hu)

    floating = known(CtVolume(volume.geometry, rounded.astype(np.float32)), mask)
    whole = known(CtVolume(volume.geometry, rounded.astype(np.int16)), mask)

    assert whole == floating


def test_more_noise_makes_the_interval_wider() -> None:
    quiet, noisy = (known(*scan(hu=160.0, noise_sd_hu=noise_sd_hu)) for noise_sd_hu in (3.0, 40.0))

    assert quiet.high - quiet.low < noisy.high - noisy.low
    assert quiet.noise.sd_hu == pytest.approx(3.0, rel=0.1)


def test_a_plaque_far_from_every_bound_keeps_its_category() -> None:
    # 10 x 10 mm in 2 slices at 1000 HU: 2 x 100 mm2 x 4 = 800
    large = np.s_[5:7, 30:50, 30:50]

    uncertainty = known(*scan(large, hu=1000.0))

    assert uncertainty.category_probabilities[">400"] == pytest.approx(1.0)
    assert uncertainty.probability_above_zero == pytest.approx(1.0)


def test_a_score_at_a_bound_is_of_two_categories() -> None:
    uncertainty = known(*scan(noise_sd_hu=15.0))

    probabilities = uncertainty.category_probabilities
    assert probabilities["11-100"] > 0.02
    assert probabilities["101-400"] > 0.02
    assert sum(probabilities.values()) == pytest.approx(1.0)


def test_a_speck_too_small_to_count_may_count_in_a_repeat_scan() -> None:
    volume, mask = scan(SPECK, hu=300.0)
    score, uncertainty = of_scan(volume, mask)

    assert score == 0.0
    assert isinstance(uncertainty, ScoreUncertainty)
    assert uncertainty.low == 0.0
    assert 0.0 < uncertainty.probability_above_zero < 1.0
    assert uncertainty.category_probabilities["0"] == pytest.approx(
        1.0 - uncertainty.probability_above_zero
    )
    assert sum(uncertainty.category_probabilities.values()) == pytest.approx(1.0)


def test_a_lesion_that_may_vanish_has_zero_in_its_interval() -> None:
    # Four pixels just above the threshold: any noise takes one away.
    score, uncertainty = of_scan(*scan(np.s_[5, 40:42, 40:42], hu=150.0, noise_sd_hu=5.0))

    assert score == pytest.approx(1.0)
    assert isinstance(uncertainty, ScoreUncertainty)
    assert uncertainty.low == 0.0
    assert uncertainty.category_probabilities["0"] > 0.2


def test_lesions_formed_across_slices_are_not_drawn() -> None:
    volume, mask = scan()
    label_map = LabelMap.from_mask(volume.geometry, mask)

    found = score_uncertainty(volume, label_map, ORCASCORE, 100.0)

    assert found is UncertaintyGap.PROTOCOL_ACROSS_SLICES


def test_without_a_marked_voxel_nothing_is_said() -> None:
    volume, mask = scan()

    assert of_scan(volume, mask & False) == (0.0, UncertaintyGap.NOTHING_MARKED)


def test_a_mask_below_the_threshold_marks_nothing() -> None:
    volume, mask = scan(hu=60.0, noise_sd_hu=1.0)

    assert of_scan(volume, mask) == (0.0, UncertaintyGap.NOTHING_MARKED)


def test_without_soft_tissue_the_noise_is_unknown() -> None:
    _, uncertainty = of_scan(*scan(tissue_hu=-800.0))

    assert uncertainty is UncertaintyGap.NOISE_UNKNOWN


def test_a_mask_of_a_whole_skeleton_is_not_drawn_anew() -> None:
    shape = (24, 320, 320)
    values = np.random.default_rng(3).normal(45.0, 10.0, shape)
    values[:, 4:-4, 4:300] = 600.0
    values[:, :, 300:] = 45.0
    geometry = VolumeGeometry.axial(shape, (3.0, 0.5, 0.5))
    volume = CtVolume(geometry, values.astype(np.float32))
    label_map = LabelMap.from_mask(geometry, values >= 130.0)

    found = score_uncertainty(volume, label_map, LITERATURE, 1.0)

    assert found is UncertaintyGap.MASK_TOO_LARGE


def test_dense_voxels_that_were_not_marked_stay_out_of_every_draw() -> None:
    volume, mask = scan(SPECK, hu=140.0, noise_sd_hu=1.0)
    beside = volume.hu.copy()
    # Bone within reach of the speck: were it in the zone, every draw would score.
    beside[5, 42:47, 38:46] = 900.0

    uncertainty = known(CtVolume(volume.geometry, beside), mask)

    assert uncertainty.probability_above_zero == known(volume, mask).probability_above_zero == 0.0


@pytest.mark.parametrize("offset", [-0.5, -0.25, 0.0, 0.3, 0.5])
def test_interpolation_is_exact_for_parabolas(offset: float) -> None:
    index = np.arange(12.0)
    parabola = 2.0 * index**2 - 3.0 * index + 5.0

    (weights,) = _interpolation(np.array([offset]), 12)

    moved = index + offset
    expected = 2.0 * moved**2 - 3.0 * moved + 5.0
    # Beyond the ends the outermost value stands for what is not there.
    assert (weights @ parabola)[2:-2] == pytest.approx(expected[2:-2], rel=1e-5)


@pytest.mark.parametrize("correlations", [(0.0, 0.0, 0.0), (0.5, 0.6, 0.3), (0.2, 0.75, 0.75)])
def test_noise_is_as_strong_and_as_alike_as_asked(
    correlations: tuple[float, float, float],
) -> None:
    noise = _noise((30, 12, 40, 40), ImageNoise(1.0, *correlations), np.random.default_rng(1))

    assert noise.std() == pytest.approx(1.0, rel=0.03)
    for axis, correlation in enumerate(correlations, start=1):
        lower = np.take(noise, range(noise.shape[axis] - 1), axis=axis)
        upper = np.take(noise, range(1, noise.shape[axis]), axis=axis)
        assert np.mean(lower * upper) == pytest.approx(correlation, abs=0.04)
