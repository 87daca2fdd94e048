"""What a model marks, by what it is."""

from __future__ import annotations

import numpy as np
import pytest

from calcium_scoring.phantom.structures import Structure
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.label_map import CORONARY, LabelMap
from model_training.evaluation.case_figures import AnnotatedScan, FoundInScan, measure_case
from model_training.evaluation.false_positives import (
    CALCIUM,
    ELSEWHERE,
    IN_HEART,
    KIND_NAMES,
    OUTSIDE_HEART,
    RIM,
    SourceCounts,
)
from tests.unit.model_training.evaluation.scans import plaque_scan

VALVE = KIND_NAMES[Structure.AORTIC_VALVE_CALCIUM]


def sources(*, knows_heart: bool = True, knows_confusers: bool = True) -> dict[str, SourceCounts]:
    """The model marks a plaque with its rim, half of a valve, bone, and noise in the heart."""
    plain = plaque_scan()
    hu, labels = plain.volume.hu.copy(), np.array(plain.reference.labels)  # type: ignore[union-attr]
    found = labels.copy()
    confusers, heart = np.zeros_like(labels), np.zeros_like(labels)
    heart[:, :, :25] = 1
    hu[1, 9, 10:20], found[1, 9, 10:20] = 150.0, CORONARY  # touches the plaque
    hu[4, 4:6, 4:8], confusers[4, 4:6, 4:8], found[4, 4, 4:8] = 250.0, 7, CORONARY
    hu[4, 20:24, 28:30], found[4, 20:24, 28:30] = 500.0, CORONARY  # bone
    hu[5, 20:22, 2:4], found[5, 20:22, 2:4] = 140.0, CORONARY  # noise
    volume = CtVolume(plain.volume.geometry, hu)
    scan = AnnotatedScan(
        "a",
        "p",
        volume,
        LabelMap(volume.geometry, labels),
        confusers if knows_confusers else None,
        heart if knows_heart else None,
        {},
    )
    result = measure_case(
        scan,
        FoundInScan(LabelMap(volume.geometry, found)),
        model_has_arteries=False,
        protocol=LITERATURE,
    )
    assert result.sources is not None
    # The scores of all sources are that of the model.
    total = sum(one.agatston_score for one in result.sources.values())
    assert total == pytest.approx(result.agatston_score)
    return result.sources


def test_every_marked_voxel_has_one_source() -> None:
    counted = sources()

    assert {name: one.marked_voxels for name, one in counted.items()} == {
        CALCIUM: 200,
        RIM: 10,
        VALVE: 4,
        OUTSIDE_HEART: 8,
        IN_HEART: 4,
    }


def test_score_of_a_lesion_is_shared_among_its_pixels() -> None:
    counted = sources()

    # Slice 1: 110 pixels x 0.25 mm2 x weight 2, a tenth of the plaque's in the rim.
    assert counted[RIM].agatston_score == pytest.approx(10 * 0.25 * 2)
    assert counted[CALCIUM].agatston_score == pytest.approx(200 * 0.25 * 2)
    assert counted[VALVE].agatston_score == pytest.approx(4 * 0.25 * 2)
    assert counted[OUTSIDE_HEART].agatston_score == pytest.approx(8 * 0.25 * 4)


def test_extent_of_a_kind_is_what_reaches_the_threshold() -> None:
    counted = sources()

    assert counted[VALVE].dense_voxels == 8
    assert counted[CALCIUM].dense_voxels == 200
    assert counted[IN_HEART].dense_voxels is None


def test_scan_of_which_nothing_is_known_has_a_rim_and_elsewhere() -> None:
    counted = sources(knows_heart=False, knows_confusers=False)

    assert {name: one.marked_voxels for name, one in counted.items()} == {
        CALCIUM: 200,
        RIM: 10,
        ELSEWHERE: 16,
    }


def test_value_that_no_kind_has_is_refused() -> None:
    scan = plaque_scan()
    confusers = np.full(scan.volume.hu.shape, 99, dtype=np.uint8)

    with pytest.raises(ValueError, match=r"hold the values \[99\]"):
        measure_case(
            plaque_scan(confusers=confusers),
            FoundInScan(scan.reference),  # type: ignore[arg-type]
            model_has_arteries=False,
            protocol=LITERATURE,
        )
