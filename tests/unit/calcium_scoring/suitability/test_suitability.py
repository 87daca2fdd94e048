"""What the pixels of a scan say: contrast agent, a heart that is cut, noise, metal, a narrow view.

The scan is a heart of 104 mm a side in lung; the "network" that finds it marks soft tissue.
"""

from __future__ import annotations

import numpy as np
import pytest

from calcium_scoring.errors import ContrastEnhanced, HeartNotCovered
from calcium_scoring.model_input.heart_region import HeartRegion, HeartSpec, find_heart
from calcium_scoring.model_input.preprocessing import ModelArray
from calcium_scoring.model_input.segmentation import CalciumModel, HeartModel, segment_scan
from calcium_scoring.model_input.spec import ModelSpec
from calcium_scoring.suitability.blood_pool import LARGEST_PLAIN_BLOOD_HU, blood_pool_hu
from calcium_scoring.suitability.check_scan import check_scan
from calcium_scoring.suitability.coverage import covered_height_mm, field_of_view_distance_mm
from calcium_scoring.suitability.image_noise import heart_noise_sd_hu
from calcium_scoring.volume.ct_volume import AIR_HU, CtVolume, HuArray
from calcium_scoring.volume.geometry import VolumeGeometry

SPEC = HeartSpec(smallest_shape=(8, 8, 8))
GEOMETRY = VolumeGeometry.axial((40, 160, 160), (4.0, 1.0, 1.0))
HEART = np.s_[8:34, 24:128, 24:128]
"""26 slices of 4 mm: 104 mm high; its sides lie on the borders of coarse voxels of 8 mm."""

BLOOD_HU = 42.0


def soft_tissue(ct_coarse: ModelArray) -> ModelArray:
    """A heart finder: above about -60 HU."""
    return (1000.0 * (ct_coarse - 0.4)).astype(np.float32)


def no_calcium(ct_patch: ModelArray) -> ModelArray:
    return np.full((len(ct_patch), 1, *ct_patch.shape[2:]), -20.0, dtype=np.float32)


MODEL = CalciumModel(ModelSpec(pixel_spacing_mm=3.0), no_calcium, HeartModel(SPEC, soft_tissue))


def chest_hu(blood_hu: float = BLOOD_HU) -> HuArray:
    hu = np.full(GEOMETRY.shape, -800.0, dtype=np.float32)
    hu[HEART] = blood_hu
    return hu


def scan(hu: HuArray) -> CtVolume:
    geometry = VolumeGeometry((hu.shape[0], hu.shape[1], hu.shape[2]), GEOMETRY.affine)
    return CtVolume(geometry, hu)


def region_of(volume: CtVolume) -> HeartRegion:
    region = find_heart(volume, SPEC, soft_tissue)
    assert region is not None
    return region


def warnings_of(volume: CtVolume) -> dict[str, dict[str, object]]:
    found = check_scan(volume, segment_scan(volume, MODEL))
    return {warning.code: dict(warning.evidence) for warning in found}


def test_a_quiet_plain_scan_of_the_whole_heart_gives_no_word() -> None:
    assert warnings_of(scan(chest_hu())) == {}


def test_the_blood_pool_is_measured_inside_the_heart() -> None:
    assert blood_pool_hu(region_of(scan(chest_hu()))) == pytest.approx(BLOOD_HU)


@pytest.mark.parametrize("blood_hu", [91.0, 130.0, 300.0])
def test_enhanced_blood_is_refused_whatever_the_header_says(blood_hu: float) -> None:
    volume = scan(chest_hu(blood_hu))

    with pytest.raises(ContrastEnhanced) as refusal:
        check_scan(volume, segment_scan(volume, MODEL))

    assert refusal.value.evidence == {
        "blood_pool_hu": pytest.approx(blood_hu),
        "largest_plain_blood_hu": LARGEST_PLAIN_BLOOD_HU,
    }
    assert "non-contrast" in refusal.value.message


@pytest.mark.parametrize("blood_hu", [26.0, 60.0, 89.0])
def test_thin_and_thick_blood_and_plastic_are_no_contrast_agent(blood_hu: float) -> None:
    assert warnings_of(scan(chest_hu(blood_hu))) == {}


def test_enhanced_chambers_in_plain_muscle_are_recognised() -> None:
    """Chambers of half the heart's volume at 250 HU, muscle around them at 50 HU."""
    hu = chest_hu(50.0)
    hu[10:32, 36:116, 36:116] = 250.0

    with pytest.raises(ContrastEnhanced):
        check_scan(scan(hu), segment_scan(scan(hu), MODEL))


def test_a_heart_full_of_calcium_is_no_contrast_agent() -> None:
    """40 x 40 x 40 mm of 1,000 HU, ten times the calcium of the highest scores."""
    hu = chest_hu()
    hu[16:26, 50:90, 50:90] = 1000.0

    assert warnings_of(scan(hu)) == {}


def test_the_height_of_the_heart_in_the_scan_is_measured() -> None:
    assert covered_height_mm(region_of(scan(chest_hu()))) == pytest.approx(104.0)


@pytest.mark.parametrize(
    "covered", [np.s_[:20], np.s_[22:]], ids=["48 mm of it at the top", "48 mm of it at the bottom"]
)
def test_a_scan_that_shows_half_a_heart_is_refused(covered: slice) -> None:
    volume = scan(chest_hu()[covered].copy())

    with pytest.raises(HeartNotCovered) as refusal:
        check_scan(volume, segment_scan(volume, MODEL))

    assert refusal.value.evidence["covered_height_mm"] == pytest.approx(48.0)
    assert refusal.value.evidence["smallest_covered_height_mm"] == 60.0


def test_a_scan_that_cuts_a_little_off_the_heart_is_scored_with_a_warning() -> None:
    volume = scan(chest_hu()[:28].copy())

    segmentation = segment_scan(volume, MODEL)

    assert check_scan(volume, segmentation) == ()
    assert [warning.code for warning in segmentation.warnings] == ["heart_cut"]


def test_a_scan_without_a_heart_is_refused() -> None:
    volume = scan(np.full(GEOMETRY.shape, -800.0, dtype=np.float32))

    with pytest.raises(HeartNotCovered) as refusal:
        check_scan(volume, segment_scan(volume, MODEL))

    assert refusal.value.evidence == {"smallest_heart_ml": 150.0}


def test_a_model_that_does_not_look_for_the_heart_refuses_nothing() -> None:
    volume = scan(np.full(GEOMETRY.shape, -800.0, dtype=np.float32))
    model = CalciumModel(ModelSpec(pixel_spacing_mm=3.0), no_calcium)

    assert check_scan(volume, segment_scan(volume, model)) == ()


@pytest.mark.parametrize(("columns", "distance_mm"), [(128, 0.0), (136, 8.0)])
def test_a_field_of_view_that_ends_at_the_heart_is_warned_of(
    columns: int, distance_mm: float
) -> None:
    volume = scan(chest_hu()[:, :, :columns].copy())

    warnings = warnings_of(volume)

    assert warnings["field_of_view_near_heart"]["distance_mm"] == pytest.approx(distance_mm)


def test_padding_within_the_image_ends_the_field_of_view() -> None:
    hu = chest_hu()
    hu[:, :, 136:] = AIR_HU

    assert field_of_view_distance_mm(region_of(scan(hu))) == pytest.approx(8.0)


def test_blank_slices_at_the_end_do_not_end_the_field_of_view() -> None:
    hu = chest_hu()
    hu[36:] = AIR_HU

    assert field_of_view_distance_mm(region_of(scan(hu))) == pytest.approx(24.0)


@pytest.mark.parametrize("noise_sd_hu", [10.0, 20.0, 24.0, 40.0])
def test_noise_is_measured_in_the_heart_and_warned_of_where_it_reaches_the_threshold(
    noise_sd_hu: float,
) -> None:
    rng = np.random.default_rng(1)
    hu = chest_hu() + rng.normal(0.0, noise_sd_hu, GEOMETRY.shape).astype(np.float32)
    volume = scan(hu)

    measured = heart_noise_sd_hu(volume, region_of(volume))

    assert measured == pytest.approx(noise_sd_hu, rel=0.03)
    assert ("high_noise" in warnings_of(volume)) is (noise_sd_hu > 22.0)


def test_edges_and_calcium_are_not_taken_for_noise() -> None:
    hu = chest_hu()
    hu[:, 60:64, 60:64] = 800.0
    volume = scan(hu)

    assert heart_noise_sd_hu(volume, region_of(volume)) == pytest.approx(0.0)


def test_metal_in_the_heart_is_warned_of_with_its_volume() -> None:
    hu = chest_hu()
    hu[20, 70:75, 70:74] = 3000.0

    # 20 voxels of 4 mm3
    assert warnings_of(scan(hu)) == {
        "metal_near_heart": {
            "metal_volume_mm3": pytest.approx(80.0),
            "peak_hu": pytest.approx(3000.0),
            "distance_mm": 0.0,
            "metal_hu": 2000.0,
        }
    }


@pytest.mark.parametrize("hu_of_metal", [1999.0, 2000.0])
def test_what_is_not_above_two_thousand_is_no_metal(hu_of_metal: float) -> None:
    hu = chest_hu()
    hu[20, 70:75, 140:144] = hu_of_metal

    assert warnings_of(scan(hu)) == {}


def test_metal_far_from_the_heart_is_no_matter() -> None:
    hu = np.full((40, 160, 200), -800.0, dtype=np.float32)
    hu[HEART] = BLOOD_HU
    # Columns 24 to 127 are heart; 36 mm of coarse voxels lie between.
    hu[20, 70:75, 176:180] = 3000.0

    assert warnings_of(scan(hu)) == {}
