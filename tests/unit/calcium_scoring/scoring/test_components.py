"""Every dense voxel is in a lesion or left out for a reason, once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from numpy.typing import NDArray

from calcium_scoring.scoring.components import (
    ComponentAccount,
    RejectedComponent,
    RejectionReason,
    account_for_components,
)
from calcium_scoring.scoring.conventions import ORCASCORE
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.scoring.report import measure_calcium
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import LabelMap
from calcium_scoring.volume.searched_voxels import SearchedPart, SearchedVoxels

SHAPE = (5, 24, 24)
GEOMETRY = VolumeGeometry.axial(SHAPE, (3.0, 0.5, 0.5))
"""Pixels of 0.25 mm2: four of them are the smallest lesion."""
KIND_NAMES = ("LM", "LAD", "LCX", "RCA", "AORTA", "VALVE", "OTHER")

Mask = NDArray[np.bool_]
Part = tuple[int | slice, int | slice, int | slice]


def account(
    hu: NDArray[np.float32],
    mask: Mask,
    *,
    region: Mask | None = None,
    probability: float | None = 0.25,
    kinds: NDArray[np.uint8] | None = None,
    geometry: VolumeGeometry = GEOMETRY,
) -> ComponentAccount:
    volume, label_map = CtVolume(geometry, hu.copy()), LabelMap.from_mask(geometry, mask)
    report = measure_calcium(volume, label_map, protocol=LITERATURE, has_artery_labels=False)
    dense = hu >= 130.0
    indices = np.flatnonzero(dense if region is None else dense & region)
    voxels = SearchedVoxels(
        geometry,
        SearchedPart.WHOLE_SCAN if region is None else SearchedPart.HEART_REGION,
        indices,
        None if probability is None else np.full(indices.shape, probability, dtype=np.float32),
        None if kinds is None else kinds.ravel()[indices],
        () if kinds is None else KIND_NAMES,
    )
    return account_for_components(volume, label_map, report.lesions, voxels, LITERATURE)


def tissue(*dense: tuple[Part, float]) -> NDArray[np.float32]:
    hu = np.full(SHAPE, 40.0, dtype=np.float32)
    for part, value in dense:
        hu[part] = value
    return hu


def marked(*parts: Part) -> Mask:
    mask = np.zeros(SHAPE, dtype=np.bool_)
    for part in parts:
        mask[part] = True
    return mask


def only(found: ComponentAccount) -> RejectedComponent:
    (component,) = found.rejected
    return component


def test_a_component_that_the_network_refuses_is_rejected_with_its_numbers() -> None:
    lower, upper = np.s_[1, 4:8, 4:8], np.s_[2, 4:8, 4:6]
    hu = tissue((lower, 250.0), (upper, 150.0))
    kinds = np.full(SHAPE, KIND_NAMES.index("VALVE"), dtype=np.uint8)
    kinds[upper] = KIND_NAMES.index("AORTA")

    component = only(account(hu, marked(), kinds=kinds))

    assert component.reason is RejectionReason.BELOW_PROBABILITY
    assert (component.first_slice_index, component.last_slice_index) == (1, 2)
    assert component.voxel_count == 16 + 8
    assert component.area_mm2 == pytest.approx(6.0)
    assert component.largest_area_mm2 == pytest.approx(4.0)
    assert component.volume_mm3 == pytest.approx(18.0)
    assert component.peak_hu == 250.0
    assert component.mean_hu == pytest.approx((16 * 250 + 8 * 150) / 24)
    # 4 mm2 x weight 2 + 2 mm2 x weight 1, at 3 mm
    assert component.agatston_score == pytest.approx(10.0)
    assert component.centroid_index == pytest.approx((32 / 24, 5.5, (16 * 5.5 + 8 * 4.5) / 24))
    assert component.opinion is not None
    assert component.opinion.mean_probability == component.opinion.max_probability == 0.25
    assert component.opinion.kind == "VALVE"
    assert component.opinion.kind_share == pytest.approx(16 / 24)


def test_a_lesion_is_kept_with_what_the_network_said_of_it() -> None:
    plaque = np.s_[1, 4:8, 4:8]

    found = account(tissue((plaque, 250.0)), marked(plaque), probability=0.75)

    assert found.rejected == ()
    (kept,) = found.kept
    assert (kept.lesion_id, kept.voxel_count) == (1, 16)
    assert kept.opinion is not None
    assert kept.opinion.max_probability == 0.75
    assert kept.opinion.kind is None


def test_marked_pixels_below_the_smallest_area_are_too_small() -> None:
    speck = np.s_[1, 4, 4:7]

    component = only(account(tissue((speck, 250.0)), marked(speck)))

    assert component.reason is RejectionReason.TOO_SMALL
    assert component.largest_area_mm2 == pytest.approx(0.75)
    assert component.marked_voxel_count == 3
    assert component.agatston_score == 0.0


def test_a_mark_too_small_within_a_large_component_leaves_it_to_the_network() -> None:
    blob = np.s_[1, 4:8, 4:8]

    component = only(account(tissue((blob, 250.0)), marked(np.s_[1, 4, 4:6])))

    assert component.reason is RejectionReason.BELOW_PROBABILITY
    assert component.marked_voxel_count == 2


def test_what_the_mask_leaves_of_a_plaque_is_its_rim() -> None:
    plaque, core = np.s_[1, 4:10, 4:10], np.s_[1, 5:9, 5:9]

    component = only(account(tissue((plaque, 250.0)), marked(core)))

    assert component.reason is RejectionReason.RIM_OF_LESION
    assert component.touched_lesion_ids == (1,)
    assert component.voxel_count == 20


def test_bone_that_reaches_into_the_region_is_cut_by_its_edge() -> None:
    region = marked(np.s_[:, 0:12, :])
    bone, speck = np.s_[1, 8:20, 4:8], np.s_[3, 11:14, 4]

    large, small = account(tissue((bone, 600.0), (speck, 600.0)), marked(), region=region).rejected

    assert large.reason is RejectionReason.EDGE_OF_REGION
    assert large.voxel_count == 16
    assert small.reason is RejectionReason.TOO_SMALL
    assert large.continues_outside
    assert small.continues_outside


def test_a_region_that_ends_between_slices_cuts_too() -> None:
    column = np.s_[1:4, 4:8, 4:8]

    component = only(account(tissue((column, 600.0)), marked(), region=marked(np.s_[0:3, :, :])))

    assert component.reason is RejectionReason.EDGE_OF_REGION


def test_without_a_network_what_is_not_in_the_mask_is_outside_it() -> None:
    component = only(account(tissue((np.s_[1, 4:8, 4:8], 250.0)), marked(), probability=None))

    assert component.reason is RejectionReason.OUTSIDE_MASK
    assert component.opinion is None


def test_pixels_at_opposite_ends_of_neighbouring_rows_do_not_touch() -> None:
    hu = tissue((np.s_[1, 4, 22:24], 250.0), (np.s_[1, 5, 0:2], 250.0))

    assert len(account(hu, marked()).rejected) == 2


def test_a_corner_joins_within_a_slice_and_not_between_slices() -> None:
    within = tissue((np.s_[1, 4:6, 4:6], 250.0), (np.s_[1, 6:8, 6:8], 250.0))
    between = tissue((np.s_[1, 4:6, 4:6], 250.0), (np.s_[2, 6:8, 6:8], 250.0))

    assert len(account(within, marked()).rejected) == 1
    assert len(account(between, marked()).rejected) == 2


def test_components_are_listed_from_the_highest_score_down() -> None:
    hu = tissue((np.s_[1, 4:8, 4:8], 250.0), (np.s_[3, 4:8, 4:8], 450.0))

    listed = account(hu, marked()).rejected

    assert [one.component_id for one in listed] == [1, 2]
    assert [one.agatston_score for one in listed] == pytest.approx([16.0, 8.0])


def test_a_lesion_that_was_never_searched_is_a_mistake_of_the_caller() -> None:
    plaque = np.s_[1, 4:8, 4:8]

    with pytest.raises(ValueError, match="Lesion 1"):
        account(tissue((plaque, 250.0)), marked(plaque), region=marked(np.s_[4, :, :]))


def test_would_be_scores_follow_the_protocol_that_was_applied() -> None:
    # One pixel in each of two slices: too small for the literature, a lesion of two voxels above
    # 130 HU for orCaScore, and nothing at 130 HU exactly.
    volume = CtVolume(GEOMETRY, tissue((np.s_[1:3, 5, 5], 250.0), (np.s_[1, 15, 15], 130.0)))
    label_map = LabelMap.from_mask(GEOMETRY, marked())
    found = {}
    for protocol in (LITERATURE, ORCASCORE):
        indices = np.flatnonzero(volume.hu >= 130.0)
        voxels = SearchedVoxels(GEOMETRY, SearchedPart.WHOLE_SCAN, indices)
        found[protocol.name] = account_for_components(volume, label_map, (), voxels, protocol)

    assert [one.reason for one in found["literature"].rejected] == ["too_small", "too_small"]
    (vessel,) = found["orcascore"].rejected
    assert vessel.reason is RejectionReason.OUTSIDE_MASK
    # 2 x 0.25 mm2 x weight 2
    assert vessel.agatston_score == pytest.approx(1.0)


VALUES_HU = (40.0, 129.5, 130.0, 250.0, 450.0)
LAW_GEOMETRY = VolumeGeometry.axial((4, 7, 9), (2.0, 0.8, 0.8))
"""Pixels of 0.64 mm2: two of them are the smallest lesion."""


@settings(deadline=None, max_examples=60)
@given(
    hu=st_numpy.arrays(np.float32, (4, 7, 9), elements=st.sampled_from(VALUES_HU)),
    mask=st_numpy.arrays(np.bool_, (4, 7, 9)),
    rows=st.integers(0, 7),
)
def test_every_dense_voxel_is_accounted_for_once_and_the_kept_ones_make_the_score(
    hu: NDArray[np.float32], mask: Mask, rows: int
) -> None:
    region = np.zeros(hu.shape, dtype=np.bool_)
    region[:, :rows] = True
    mask = mask & region

    found = account(hu, mask, region=region, geometry=LAW_GEOMETRY)

    volume, label_map = CtVolume(LAW_GEOMETRY, hu.copy()), LabelMap.from_mask(LAW_GEOMETRY, mask)
    report = measure_calcium(volume, label_map, protocol=LITERATURE, has_artery_labels=False)
    assert found.voxel_count == np.count_nonzero(region & (hu >= 130.0))
    assert found.kept_voxel_count + found.rejected_voxel_count == found.voxel_count
    kept = {one.lesion_id: one.voxel_count for one in found.kept}
    assert kept == {lesion.lesion_id: lesion.voxel_count for lesion in report.lesions}
    assert found.kept_voxel_count * LAW_GEOMETRY.voxel_volume_mm3 == pytest.approx(
        report.total.volume_score_mm3
    )
    # What is left, put into a mask of its own, scores what the account says of it.
    left = region & (hu >= 130.0)
    for lesion in report.lesions:
        for part in lesion.slice_lesions:
            left[part.slice_index, part.pixels[0], part.pixels[1]] = False
    rest = measure_calcium(
        volume,
        LabelMap.from_mask(LAW_GEOMETRY, left),
        protocol=LITERATURE,
        has_artery_labels=False,
    )
    assert sum(one.agatston_score for one in found.rejected) == pytest.approx(
        rest.total.agatston_score
    )
