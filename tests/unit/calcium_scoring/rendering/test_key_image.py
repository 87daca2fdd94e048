"""Which slices are shown, and what stands beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from calcium_scoring.rendering.key_image import key_slice_indices, render_key_image
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.scoring.report import measure_calcium
from calcium_scoring.volume.label_map import Artery
from service.application.report_document import report_document
from tests.builders import plaque_phantom


def lesion(artery: str | None, *scores: tuple[int, float]) -> dict[str, Any]:
    return {
        "artery": artery,
        "agatston_score": sum(score for _, score in scores),
        "slices": [{"slice_index": index, "agatston_score": score} for index, score in scores],
    }


def test_each_artery_is_shown_where_it_scores_most_the_highest_first() -> None:
    document = {
        "lesions": [
            lesion("LAD", (10, 5.0), (11, 9.0)),
            lesion("LAD", (10, 6.0)),
            lesion("RCA", (30, 20.0)),
        ]
    }

    # LAD scores 5 + 6 = 11 in slice 10; slice 11 is where its first lesion scores most.
    assert key_slice_indices(document, 40) == (30, 10, 11)


def test_there_are_never_more_than_four_and_none_twice() -> None:
    document = {"lesions": [lesion(None, (index % 7, 10.0 + index)) for index in range(20)]}

    shown = key_slice_indices(document, 40)

    assert len(shown) == len(set(shown)) == 4


@pytest.mark.parametrize(("slice_count", "shown"), [(40, (10, 20, 30)), (1, (0,))])
def test_without_calcium_slices_of_the_scan_are_shown(
    slice_count: int, shown: tuple[int, ...]
) -> None:
    assert key_slice_indices({"lesions": []}, slice_count) == shown


def test_a_key_image_has_the_picture_at_the_left_and_words_at_the_right() -> None:
    volume, label_map = plaque_phantom(label=Artery.LAD)
    report = measure_calcium(volume, label_map, protocol=LITERATURE, has_artery_labels=True)
    document = report_document(report, volume, model=None)

    picture = render_key_image(volume, label_map, 1, document)

    assert picture.dtype == np.uint8
    assert picture.shape == (802, 1140, 3)
    # The outline of the LAD, and its line in the table, are red.
    is_red = (picture == (255, 69, 58)).all(axis=2)
    assert is_red[:, :768].any()
    assert is_red[:, 768:].any()
