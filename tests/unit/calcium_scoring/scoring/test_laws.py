"""What must not change a score, for any volume."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from numpy.typing import NDArray

from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.scoring.report import CalciumReport, measure_calcium
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import LabelMap

VALUES_HU = (-1024.0, 40.0, 129.5, 130.0, 199.5, 200.0, 350.0, 400.0, 1200.0)
volumes = st_numpy.arrays(np.float32, (4, 7, 9), elements=st.sampled_from(VALUES_HU))


def measured(hu: NDArray[np.float32], mask: NDArray[np.bool_] | None = None) -> CalciumReport:
    geometry = VolumeGeometry.axial((hu.shape[0], hu.shape[1], hu.shape[2]), (3.0, 0.8, 0.8))
    everywhere = np.ones(hu.shape, dtype=bool)
    return measure_calcium(
        CtVolume(geometry, hu.copy()),
        LabelMap.from_mask(geometry, everywhere if mask is None else mask),
        protocol=LITERATURE,
        has_artery_labels=False,
    )


@settings(deadline=None)
@given(hu=volumes, axis=st.sampled_from([0, 1, 2]))
def test_a_flip_changes_no_score_and_no_count(hu: NDArray[np.float32], axis: int) -> None:
    usual, flipped = measured(hu).total, measured(np.flip(hu, axis)).total

    assert flipped.agatston_score == pytest.approx(usual.agatston_score)
    assert flipped.volume_score_mm3 == pytest.approx(usual.volume_score_mm3)
    assert flipped.lesion_count == usual.lesion_count


@settings(deadline=None)
@given(hu=volumes, order=st.permutations(range(4)))
def test_agatston_score_knows_slices_one_by_one(hu: NDArray[np.float32], order: list[int]) -> None:
    assert measured(hu[order]).total.agatston_score == pytest.approx(
        measured(hu).total.agatston_score
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
