"""What must not change a score, for any volume."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from numpy.typing import NDArray

from calcium_scoring.phantom.cylinders import CylinderInsert, cylinder_phantom
from calcium_scoring.scoring.conventions import CONVENTIONS
from calcium_scoring.scoring.protocol import LITERATURE, ScoringProtocol
from calcium_scoring.scoring.report import CalciumReport, measure_calcium
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import LabelMap

VALUES_HU = (-1024.0, 40.0, 129.5, 130.0, 199.5, 200.0, 350.0, 400.0, 1200.0)
volumes = st_numpy.arrays(np.float32, (4, 7, 9), elements=st.sampled_from(VALUES_HU))


protocols = st.sampled_from(list(CONVENTIONS.values()))
slice_by_slice_protocols = st.sampled_from(
    [protocol for protocol in CONVENTIONS.values() if protocol.connectivity_3d is None]
)


def measured(
    hu: NDArray[np.float32],
    mask: NDArray[np.bool_] | None = None,
    protocol: ScoringProtocol = LITERATURE,
) -> CalciumReport:
    geometry = VolumeGeometry.axial((hu.shape[0], hu.shape[1], hu.shape[2]), (3.0, 0.8, 0.8))
    everywhere = np.ones(hu.shape, dtype=bool)
    return measure_calcium(
        CtVolume(geometry, hu.copy()),
        LabelMap.from_mask(geometry, everywhere if mask is None else mask),
        protocol=protocol,
        has_artery_labels=False,
    )


@settings(deadline=None)
@given(hu=volumes, axis=st.sampled_from([0, 1, 2]), protocol=protocols)
def test_a_flip_changes_no_score_and_no_count_under_any_convention(
    hu: NDArray[np.float32], axis: int, protocol: ScoringProtocol
) -> None:
    usual = measured(hu, protocol=protocol).total
    flipped = measured(np.flip(hu, axis), protocol=protocol).total

    assert flipped.agatston_score == pytest.approx(usual.agatston_score)
    assert flipped.volume_score_mm3 == pytest.approx(usual.volume_score_mm3)
    assert flipped.interpolated_volume_score_mm3 == pytest.approx(
        usual.interpolated_volume_score_mm3
    )
    assert flipped.lesion_count == usual.lesion_count


@settings(deadline=None)
@given(hu=volumes, order=st.permutations(range(4)), protocol=slice_by_slice_protocols)
def test_agatston_score_knows_slices_one_by_one(
    hu: NDArray[np.float32], order: list[int], protocol: ScoringProtocol
) -> None:
    shuffled = measured(hu[order], protocol=protocol).total

    assert shuffled.agatston_score == pytest.approx(
        measured(hu, protocol=protocol).total.agatston_score
    )


@settings(deadline=None)
@given(hu=volumes)
def test_lesions_add_up_to_the_total(hu: NDArray[np.float32]) -> None:
    report = measured(hu)

    parts = [part for lesion in report.lesions for part in lesion.slice_lesions]
    assert sum(part.area_mm2 for part in parts) * 3.0 == pytest.approx(
        report.total.volume_score_mm3
    )


@settings(deadline=None)
@given(hu=volumes)
def test_a_mask_of_the_dense_voxels_alone_scores_like_a_generous_one(
    hu: NDArray[np.float32],
) -> None:
    assert measured(hu, hu >= 130.0).total == measured(hu).total


@settings(deadline=None)
@given(hu=volumes, padding_hu=st.sampled_from([-32768.0, -3024.0, -2048.0, -2000.0, 0.0, 129.9]))
def test_the_value_outside_the_field_of_view_changes_nothing(
    hu: NDArray[np.float32], padding_hu: float
) -> None:
    padded = np.where(hu == -1024.0, np.float32(padding_hu), hu)
    mask = hu != -1024.0  # nobody marks calcium where there is no picture

    assert measured(padded, mask).total.agatston_score == measured(hu, mask).total.agatston_score
    assert measured(padded, mask).total.lesion_count == measured(hu, mask).total.lesion_count


@settings(deadline=None)
@given(
    hu=volumes,
    around=st.sampled_from([-2048.0, 40.0, 900.0]),
    margin=st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 3),
    protocol=protocols,
)
def test_more_field_of_view_around_the_mask_changes_no_score(
    hu: NDArray[np.float32],
    around: float,
    margin: tuple[tuple[int, int], tuple[int, int], tuple[int, int]],
    protocol: ScoringProtocol,
) -> None:
    mask = hu >= 200.0
    wider = np.pad(hu, margin, constant_values=around)

    usual = measured(hu, mask, protocol).total
    more = measured(wider, np.pad(mask, margin, constant_values=False), protocol).total

    assert more.agatston_score == pytest.approx(usual.agatston_score)
    assert more.volume_score_mm3 == pytest.approx(usual.volume_score_mm3)
    assert more.lesion_count == usual.lesion_count
    # Where the scan ends the interpolated volume ends too: more slices are more to interpolate.
    if margin[0] == (0, 0):
        assert more.interpolated_volume_score_mm3 == pytest.approx(
            usual.interpolated_volume_score_mm3
        )


@settings(deadline=None)
@given(hu=volumes, dense_hu=st.sampled_from([300.0, 400.0, 3071.0]))
def test_denser_calcium_never_scores_less(hu: NDArray[np.float32], dense_hu: float) -> None:
    denser = np.where(hu >= 200.0, np.maximum(hu, np.float32(dense_hu)), hu)

    assert measured(denser).total.agatston_score >= measured(hu).total.agatston_score


@settings(deadline=None)
@given(hu=volumes)
def test_leaving_out_fewer_small_lesions_never_scores_less(hu: NDArray[np.float32]) -> None:
    scores = {
        name: measured(hu, protocol=CONVENTIONS[name]).total.agatston_score
        for name in ("ge", "philips", "siemens", "canon", "orcascore", "ai_cac")
    }

    margin = 1e-9
    assert scores["ge"] <= scores["philips"] + margin
    assert scores["philips"] <= scores["siemens"] + margin
    assert scores["canon"] <= scores["siemens"] + margin


LENGTH_MM = 30.0


@settings(deadline=None, max_examples=25)
@given(
    shift_mm=st.floats(0.0, 3.0),
    radius_mm=st.floats(1.5, 5.0),
    spacing_mm=st.sampled_from([3.0, 1.5, 0.75]),
)
def test_spacing_changes_the_score_of_an_ideal_cylinder_by_less_than_a_slice_at_each_end(
    shift_mm: float, radius_mm: float, spacing_mm: float
) -> None:
    """Slices that it fills score its area; at either end one may be filled in part or not count."""
    insert = CylinderInsert((8.1, 7.9, 24.0 + shift_mm), radius_mm, LENGTH_MM, hu=190.0)
    phantom = cylinder_phantom(
        [insert],
        shape=(round(54.0 / spacing_mm), 32, 32),
        spacing_mm=(spacing_mm, 0.5, 0.5),
        background_hu=70.0,  # 130 HU is half way: voxels that are filled half or more count
    )
    report = measure_calcium(
        phantom.volume, phantom.truth, protocol=LITERATURE, has_artery_labels=False
    )
    areas = [part.area_mm2 for lesion in report.lesions for part in lesion.slice_lesions]

    ideal = max(areas) * LENGTH_MM / 3.0  # weight 1
    assert abs(report.total.agatston_score - ideal) <= max(areas) * 2.0 * spacing_mm / 3.0


def test_overlapping_reconstruction_scores_within_five_percent_of_the_contiguous_one() -> None:
    """Slices of 3 mm every 1.5 mm: without the correction they would score twice as much."""
    inserts = [
        CylinderInsert((12.0 + 14.0 * column, 12.0 + 14.0 * row, 24.0 + shift), radius, 24.0, hu)
        for (row, column, shift, radius, hu) in (
            (0, 0, 0.0, 2.5, 800.0), (0, 1, 0.7, 1.5, 800.0), (0, 2, 1.1, 2.5, 400.0),
            (1, 0, 1.6, 1.5, 400.0), (1, 1, 2.2, 2.5, 250.0), (1, 2, 2.6, 1.5, 250.0),
        )
    ]  # fmt: skip

    def score(spacing_mm: float) -> float:
        phantom = cylinder_phantom(
            inserts,
            shape=(round(48.0 / spacing_mm), 80, 104),
            spacing_mm=(spacing_mm, 0.5, 0.5),
            slice_thickness_mm=3.0,
            psf_sigma_mm=0.5,
        )
        report = measure_calcium(
            phantom.volume, phantom.truth, protocol=LITERATURE, has_artery_labels=False
        )
        return report.total.agatston_score

    assert score(1.5) == pytest.approx(score(3.0), rel=0.05)


whole_volumes = st_numpy.arrays(
    np.float32,
    (4, 7, 9),
    elements=st.sampled_from((-1024.0, 40.0, 129.0, 130.0, 199.0, 200.0, 1200.0, 32767.0)),
)


@settings(deadline=None)
@given(hu=whole_volumes, protocol=protocols)
def test_whole_numbers_of_16_bits_score_as_floating_point_does(
    hu: NDArray[np.float32], protocol: ScoringProtocol
) -> None:
    """Differences of HU do not fit into 16 bits: -1024 beside 32767 would turn round."""
    geometry = VolumeGeometry.axial((4, 7, 9), (3.0, 0.8, 0.8))
    everywhere = LabelMap.from_mask(geometry, hu >= 130.0)
    floating, whole = (
        measure_calcium(
            CtVolume(geometry, values, mass_calibration_factor=0.77),
            everywhere,
            protocol=protocol,
            has_artery_labels=False,
        )
        for values in (hu.copy(), hu.astype(np.int16))
    )

    assert whole.total == floating.total
    assert [lesion.peak_hu for lesion in whole.lesions] == [
        lesion.peak_hu for lesion in floating.lesions
    ]
