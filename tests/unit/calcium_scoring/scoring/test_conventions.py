"""Named conventions: which small lesion counts, what belongs together, whose peak weighs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from calcium_scoring.scoring.conventions import (
    AI_CAC,
    CANON,
    CONVENTION_SOURCES,
    CONVENTIONS,
    DEEPCAC,
    GE,
    ORCASCORE,
    PHILIPS,
    SIEMENS,
)
from calcium_scoring.scoring.lesions import find_lesions, find_slice_lesions
from calcium_scoring.scoring.protocol import LITERATURE, ScoringProtocol
from calcium_scoring.scoring.report import CalciumReport, measure_calcium
from calcium_scoring.scoring.tube_voltage import GRANI_2018, TUBE_VOLTAGE_TABLES
from calcium_scoring.volume.ct_volume import CtAcquisition, CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import Artery, LabelMap
from tests.builders import plaque_phantom

MANY = np.s_[5, 20:24, 20:24]
"""Sixteen pixels: large enough for every convention."""


def volume_of(hu: NDArray[np.float32], kvp: float = 120.0) -> CtVolume:
    # 0.36 mm2 a pixel: 1 mm2 are three pixels, 0.5 mm2 two
    geometry = VolumeGeometry.axial((hu.shape[0], hu.shape[1], hu.shape[2]), (3.0, 0.6, 0.6))
    return CtVolume(geometry, hu, CtAcquisition(kvp=kvp))


def tissue() -> NDArray[np.float32]:
    return np.full((8, 32, 32), 40.0, dtype=np.float32)


def measured(hu: NDArray[np.float32], protocol: ScoringProtocol) -> CalciumReport:
    volume = volume_of(hu.copy())
    everywhere = LabelMap.from_mask(volume.geometry, np.ones(hu.shape, dtype=bool))
    return measure_calcium(volume, everywhere, protocol=protocol, has_artery_labels=False)


@pytest.mark.parametrize(
    ("protocol", "smallest"),
    [(LITERATURE, 3), (GE, 3), (SIEMENS, 1), (PHILIPS, 2), (CANON, 3), (ORCASCORE, 1),
     (AI_CAC, 2), (DEEPCAC, 4)],
    ids=lambda value: getattr(value, "name", value),
)  # fmt: skip
def test_smallest_lesion_of_a_convention(protocol: ScoringProtocol, smallest: int) -> None:
    hu = tissue()
    hu[2, 5, 5 : 5 + smallest] = 150.0
    assert measured(hu, protocol).total.lesion_count == 1

    hu[2, 5, 4 + smallest] = 40.0
    assert measured(hu, protocol).total.lesion_count == 0


@pytest.mark.parametrize(("pixel_mm", "literature", "philips"), [(0.488, 5, 3), (0.7, 3, 2)])
def test_smallest_area_is_rounded_up_to_whole_pixels(
    pixel_mm: float, literature: int, philips: int
) -> None:
    assert LITERATURE.min_lesion_pixels(pixel_mm**2) == literature
    assert PHILIPS.min_lesion_pixels(pixel_mm**2) == philips
    assert CANON.min_lesion_pixels(pixel_mm**2) == 3


def test_only_the_challenge_leaves_out_a_voxel_of_exactly_130_hu() -> None:
    hu = tissue()
    hu[MANY] = 130.0

    found = {name: measured(hu, one).total.lesion_count for name, one in CONVENTIONS.items()}

    assert [name for name, count in found.items() if count == 0] == ["orcascore"]


def test_corners_join_pixels_in_eight_connected_conventions_only() -> None:
    hu = tissue()
    hu[2, 2:6, 2:6] = 150.0
    hu[2, 6:10, 6:10] = 150.0

    counts = {name: measured(hu, one).total.lesion_count for name, one in CONVENTIONS.items()}

    eight_connected = {"literature", "deepcac"}
    assert counts == {name: 1 if name in eight_connected else 2 for name in CONVENTIONS}


def test_peak_of_the_whole_lesion_weighs_every_slice_of_it_under_ai_cac() -> None:
    volume, label_map = plaque_phantom(peak_hu=150.0)
    hu = volume.hu.copy()
    hu[2, 15, 15] = 450.0
    volume = CtVolume(volume.geometry, hu)

    def score(protocol: ScoringProtocol) -> float:
        report = measure_calcium(volume, label_map, protocol=protocol, has_artery_labels=False)
        return report.total.agatston_score

    # two slices of 25 mm2: weights 1 and 4, or 4 and 4
    assert score(LITERATURE) == pytest.approx(125.0)
    assert score(ORCASCORE) == pytest.approx(125.0)
    assert score(AI_CAC) == pytest.approx(200.0)


def test_a_lesion_across_slices_may_be_in_two_pieces_within_one() -> None:
    hu = tissue()
    hu[2, 5:9, 5:9] = hu[2, 5:9, 15:19] = 150.0  # two legs
    hu[3, 5:9, 5:19] = 250.0  # joined above

    volume = volume_of(hu)
    everywhere = LabelMap.from_mask(volume.geometry, np.ones(hu.shape, dtype=bool))
    (lesion,) = find_lesions(volume, everywhere, ORCASCORE)

    assert [part.slice_index for part in lesion.slice_lesions] == [2, 3]
    assert [part.pixel_count for part in lesion.slice_lesions] == [32, 56]
    assert [part.peak_hu for part in lesion.slice_lesions] == [150.0, 250.0]


def test_specks_in_one_place_of_two_slices_are_one_lesion_of_two_voxels() -> None:
    hu = tissue()
    hu[2:4, 5, 5] = 150.0

    assert measured(hu, AI_CAC).total.lesion_count == 1
    assert measured(hu, LITERATURE).total.lesion_count == 0


def test_three_dimensional_lesions_are_named_after_the_artery_that_holds_most() -> None:
    volume, _ = plaque_phantom(slice_count=3)
    labels = np.zeros(volume.geometry.shape, dtype=np.uint8)
    labels[1, 10:20, 10:20] = Artery.LM
    labels[2:4, 10:20, 10:20] = Artery.LAD

    (lesion,) = find_lesions(volume, LabelMap(volume.geometry, labels), AI_CAC)

    assert lesion.artery is Artery.LAD
    assert lesion.voxel_count == 300


def test_no_calcium_is_no_lesion_under_any_convention() -> None:
    for protocol in CONVENTIONS.values():
        assert measured(tissue(), protocol).total.agatston_score == 0.0


def test_slice_lesions_are_asked_for_slice_by_slice_protocols_only() -> None:
    volume, label_map = plaque_phantom()

    with pytest.raises(ValueError, match="across slices"):
        find_slice_lesions(volume, label_map, ORCASCORE)


def test_report_has_every_other_convention_and_says_where_the_category_changes() -> None:
    hu = tissue()
    hu[2, 5:15, 5:15] = 450.0  # 36 mm2 x weight 4
    hu[4, 5, 5:7] = 150.0  # 0.72 mm2: noise, but not for everyone
    volume = volume_of(hu)
    everywhere = LabelMap.from_mask(volume.geometry, np.ones(hu.shape, dtype=bool))

    report = measure_calcium(
        volume, everywhere, protocol=LITERATURE, has_artery_labels=False,
        conventions=CONVENTIONS.values(),
    )  # fmt: skip

    assert [one.protocol.name for one in report.conventions] == list(CONVENTIONS)[1:]
    scores = {one.protocol.name: one.scores.agatston_score for one in report.conventions}
    assert report.total.agatston_score == pytest.approx(144.0)
    assert scores["ge"] == pytest.approx(144.0)
    assert scores["philips"] == pytest.approx(144.72)
    assert report.category_stable


def test_category_is_not_stable_where_a_convention_sees_calcium_and_the_default_none() -> None:
    hu = tissue()
    hu[2, 5, 5:7] = 150.0  # 0.72 mm2
    volume = volume_of(hu)
    everywhere = LabelMap.from_mask(volume.geometry, np.ones(hu.shape, dtype=bool))

    report = measure_calcium(
        volume, everywhere, protocol=LITERATURE, has_artery_labels=False,
        conventions=CONVENTIONS.values(),
    )  # fmt: skip

    assert report.risk_category == "0"
    assert not report.category_stable
    unstable = [one.protocol.name for one in report.conventions if not one.category_stable]
    assert unstable == ["siemens", "philips", "orcascore", "ai_cac"]


def test_every_convention_names_its_source() -> None:
    assert set(CONVENTION_SOURCES) == set(CONVENTIONS)


def test_a_three_dimensional_protocol_has_no_smallest_area() -> None:
    with pytest.raises(ValueError, match="count of voxels"):
        ScoringProtocol(name="own", connectivity_3d=6)


@pytest.mark.parametrize(
    ("kvp", "start", "second", "third", "fourth"),
    [(70, 207, 318, 477, 636), (80, 177, 271, 408, 544), (100, 145, 222, 334, 446),
     (120, 130, 200, 300, 400), (135, 119, 183, 274, 364)],
)  # fmt: skip
def test_table_of_grani_has_its_published_thresholds(
    kvp: float, start: float, second: float, third: float, fourth: float
) -> None:
    at = replace(LITERATURE, tube_voltage_table="grani_2018").at_tube_voltage(kvp)

    assert at.threshold_hu == start
    assert at.density_weight_bounds_hu == (start, second, third, fourth)


def test_fqm_table_starts_at_147_hu_at_100_kv() -> None:
    at = replace(LITERATURE, tube_voltage_table="fqm_2021").at_tube_voltage(100.0)

    assert (at.threshold_hu, at.density_weight_bounds_hu) == (147.0, (147.0, 200.0, 300.0, 400.0))


@pytest.mark.parametrize("kvp", [None, 70.0, 100.0, 120.0, 140.0])
def test_threshold_is_130_hu_at_every_voltage_unless_a_table_is_chosen(kvp: float | None) -> None:
    assert LITERATURE.at_tube_voltage(kvp) == LITERATURE


def test_a_voltage_that_a_table_does_not_have_is_not_interpolated() -> None:
    protocol = replace(LITERATURE, tube_voltage_table="grani_2018")

    assert protocol.at_tube_voltage(110.0) == protocol
    assert not GRANI_2018.covers(110.0)
    assert not GRANI_2018.covers(None)
    assert TUBE_VOLTAGE_TABLES["constant_130"].covers(None)


def test_a_chosen_table_holds_for_every_convention_of_a_report() -> None:
    hu = tissue()
    hu[MANY] = 140.0
    volume = volume_of(hu, kvp=100.0)
    everywhere = LabelMap.from_mask(volume.geometry, np.ones(hu.shape, dtype=bool))

    report = measure_calcium(
        volume,
        everywhere,
        protocol=replace(LITERATURE, tube_voltage_table="grani_2018"),
        has_artery_labels=False,
        conventions=CONVENTIONS.values(),
    )

    # 140 HU is calcium from 130 HU, but not from the 145 HU of 100 kV.
    assert report.total.agatston_score == 0.0
    assert report.protocol.threshold_hu == 145.0
    assert {one.protocol.threshold_hu for one in report.conventions} == {145.0}
    assert {one.scores.agatston_score for one in report.conventions} == {0.0}


def test_an_unknown_table_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="constant_130, grani_2018, fqm_2021"):
        ScoringProtocol(tube_voltage_table="own")
