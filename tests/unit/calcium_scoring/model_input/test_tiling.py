"""From logits to labels: who decides, who names, and where nothing is looked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from calcium_scoring.model_input.preprocessing import ModelArray
from calcium_scoring.model_input.spec import ALL_LABELS, ModelSpec
from calcium_scoring.model_input.tiling import (
    CONTEXT_MM,
    PredictPatch,
    search_volume,
    segment_volume,
)
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.label_map import CORONARY, Artery, LabelMap, MaskArray
from calcium_scoring.volume.searched_voxels import SearchedPart
from tests.builders import soft_tissue_volume

BINARY = ModelSpec(pixel_spacing_mm=0.5)
NAMING = ModelSpec(pixel_spacing_mm=0.5, labels=ALL_LABELS)
"""On the grid of the scan, so that a pixel is the same in both."""

Pixel = tuple[int, int]


def dense_volume(*pixels: tuple[int, int, int], shape: tuple[int, int, int]) -> CtVolume:
    blank = soft_tissue_volume(shape, (3.0, 0.5, 0.5))
    hu = blank.hu.copy()
    for voxel in pixels:
        hu[voxel] = 400.0
    return CtVolume(blank.geometry, hu)


def network(logits_at: Mapping[Pixel, Mapping[str, float]]) -> PredictPatch:
    """A "network" that is sure of calcium everywhere and has opinions at some pixels."""

    def predict_patch(ct_patch: ModelArray) -> ModelArray:
        logits = np.zeros((1, len(ALL_LABELS), *ct_patch.shape[2:]), dtype=np.float32)
        logits[0, 0] = 20.0
        for (row, column), opinions in logits_at.items():
            for label, logit in opinions.items():
                logits[0, ALL_LABELS.index(label), row, column] = logit
        return logits

    return predict_patch


def sure(ct_patch: ModelArray) -> ModelArray:
    return np.full((len(ct_patch), 1, *ct_patch.shape[2:]), 20.0, dtype=np.float32)


def artery_at(label_map: LabelMap, row: int, column: int) -> str:
    return Artery(int(label_map.labels[0, row, column])).name


def test_a_piece_gets_the_artery_whose_logits_sum_highest_over_its_pixels() -> None:
    volume = dense_volume((0, 5, 5), (0, 5, 6), (0, 5, 7), shape=(1, 16, 16))

    label_map = segment_volume(
        volume,
        NAMING,
        # Two pixels lean towards LCX, together by 2; one is sure of LAD, by 5.
        network({(5, 5): {"LCX": 1.0}, (5, 6): {"LCX": 1.0}, (5, 7): {"LAD": 5.0}}),
    )

    assert label_map.labels[0, 5, 5:8].tolist() == [Artery.LAD] * 3
    assert np.count_nonzero(label_map.labels) == 3


def test_pieces_that_touch_by_a_corner_have_one_artery_and_others_their_own() -> None:
    volume = dense_volume((0, 5, 5), (0, 6, 6), (0, 6, 8), shape=(1, 16, 16))

    label_map = segment_volume(
        volume, NAMING, network({(5, 5): {"LM": 3.0}, (6, 6): {"LCX": 1.0}, (6, 8): {"RCA": 1.0}})
    )

    assert [artery_at(label_map, *at) for at in ((5, 5), (6, 6), (6, 8))] == ["LM", "LM", "RCA"]


def test_pieces_of_two_slices_are_named_apart() -> None:
    volume = dense_volume((0, 5, 5), (1, 5, 5), shape=(2, 16, 16))
    of_slice = iter((network({(5, 5): {"LAD": 1.0}}), network({(5, 5): {"RCA": 1.0}})))

    def predict_patch(ct_patch: ModelArray) -> ModelArray:
        return next(of_slice)(ct_patch)

    label_map = segment_volume(volume, NAMING, predict_patch)

    assert label_map.labels[:, 5, 5].tolist() == [Artery.LAD, Artery.RCA]


@pytest.mark.parametrize("confuser", ["AORTA", "VALVE", "OTHER"])
def test_the_first_channel_alone_decides_what_is_coronary(confuser: str) -> None:
    volume = dense_volume((0, 5, 5), shape=(1, 16, 16))

    marked = segment_volume(volume, NAMING, network({(5, 5): {confuser: 50.0, "RCA": 1.0}}))
    refused = segment_volume(volume, NAMING, network({(5, 5): {"CORONARY": -0.1, "RCA": 50.0}}))

    assert artery_at(marked, 5, 5) == "RCA"
    assert not refused.calcium_mask.any()


def decided(spec: ModelSpec, logits_at: Mapping[Pixel, Mapping[str, float]]) -> list[bool]:
    """Whether three dense pixels in a row are calcium."""
    volume = dense_volume((0, 5, 5), (0, 5, 6), (0, 5, 7), shape=(1, 16, 16))
    mask = segment_volume(volume, spec, network(logits_at)).calcium_mask
    return [bool(one) for one in mask[0, 5, 5:8]]


@pytest.mark.parametrize(
    ("piece_share", "expected"),
    [
        (0.0, [True, False, False]),  # log odds 5, -1, -1
        (1.0, [True, True, True]),  # their mean, 1
        (0.4, [True, False, False]),  # -1 * 0.6 + 1 * 0.4 = -0.2
        (0.6, [True, True, True]),  # -1 * 0.4 + 1 * 0.6 = 0.2
    ],
)
def test_a_piece_has_its_share_in_the_decision_on_its_voxels(
    piece_share: float, expected: list[bool]
) -> None:
    opinions = {(5, 5): {"CORONARY": 5.0}, (5, 6): {"CORONARY": -1.0}, (5, 7): {"CORONARY": -1.0}}

    assert decided(replace(NAMING, piece_share=piece_share), opinions) == expected


def test_one_pixel_cannot_outvote_its_piece_beyond_one_in_a_million() -> None:
    opinions = {(5, 5): {"CORONARY": 50.0}, (5, 6): {"CORONARY": -8.0}, (5, 7): {"CORONARY": -8.0}}

    assert decided(replace(NAMING, piece_share=1.0), opinions) == [False] * 3


def test_what_the_voxel_is_called_counts_with_its_weight() -> None:
    """Of seven names one speaks with logit 6: log odds ln((e^6 + 3) / 3) of any artery."""
    opinions = {
        (5, 5): {"CORONARY": -2.4, "LAD": 6.0},  # 0.5 * 4.91 = 2.45
        (5, 6): {"CORONARY": -2.5, "LAD": 6.0},
        (5, 7): {"CORONARY": 2.4, "OTHER": 6.0},  # 0.5 * -ln((e^6 + 2) / 4) = -2.31
    }

    assert decided(replace(NAMING, naming_weight=0.5), opinions) == [True, False, True]
    assert decided(NAMING, opinions) == [False, False, True]


def test_pieces_of_two_lesions_do_not_decide_for_each_other() -> None:
    volume = dense_volume((0, 5, 5), (0, 5, 7), shape=(1, 16, 16))
    opinions = {(5, 5): {"CORONARY": 9.0}, (5, 7): {"CORONARY": -1.0}}

    mask = segment_volume(volume, replace(NAMING, piece_share=1.0), network(opinions)).calcium_mask

    assert mask[0, 5, 5:8].tolist() == [True, False, False]


def test_a_binary_network_names_no_artery() -> None:
    volume = dense_volume((0, 5, 5), shape=(1, 16, 16))

    label_map = segment_volume(volume, BINARY, sure)

    assert np.unique(label_map.labels).tolist() == [0, CORONARY]


def region_of(volume: CtVolume, part: tuple[slice, slice, slice]) -> MaskArray:
    region = np.zeros(volume.geometry.shape, dtype=np.bool_)
    region[part] = True
    return region


def test_nothing_is_found_outside_the_region() -> None:
    inside, beside, above = (1, 100, 100), (1, 100, 130), (3, 100, 100)
    volume = dense_volume(inside, beside, above, shape=(4, 200, 200))
    region = region_of(volume, np.s_[0:3, 90:120, 90:120])
    asked: list[int] = []

    def predict_patch(ct_patch: ModelArray) -> ModelArray:
        asked.append(1)
        return sure(ct_patch)

    label_map = segment_volume(volume, BINARY, predict_patch, region=region)

    assert np.argwhere(label_map.calcium_mask).tolist() == [list(inside)]
    assert len(asked) == 1, "a slice without a dense voxel in the region needs no network"


def test_the_network_sees_the_region_with_its_surroundings_only() -> None:
    volume = dense_volume((0, 100, 150), shape=(1, 400, 300))
    region = region_of(volume, np.s_[:, 180:200, 140:160])
    region[0, 100, 150] = True
    seen: list[tuple[int, ...]] = []

    def predict_patch(ct_patch: ModelArray) -> ModelArray:
        seen.append(ct_patch.shape)
        return sure(ct_patch)

    label_map = segment_volume(volume, BINARY, predict_patch, region=region)

    # 20 mm are 40 pixels: rows 100 - 40 to 199 + 40 are 180 pixels and columns 100 to 199 are 100
    # pixels; multiples of 16 from there are 192 and 112.
    assert CONTEXT_MM == 20.0
    assert seen == [(1, 9, 192, 112)]
    assert np.argwhere(label_map.calcium_mask).tolist() == [[0, 100, 150]]


@pytest.mark.parametrize("corner", [(2, 3), (2, 290), (390, 3), (395, 296)])
def test_a_region_at_the_edge_of_the_scan_is_read_at_its_place(corner: Pixel) -> None:
    row, column = corner
    volume = dense_volume((0, row, column), shape=(1, 400, 300))
    region = region_of(volume, np.s_[:, row - 2 : row + 3, column - 2 : column + 3])

    def bright_is_calcium(ct_patch: ModelArray) -> ModelArray:
        # 130 HU are 0.358 model units.
        return (1000.0 * (ct_patch[:, 4:5] - 0.3)).astype(np.float32)

    label_map = segment_volume(volume, BINARY, bright_is_calcium, region=region)

    assert np.argwhere(label_map.calcium_mask).tolist() == [[0, row, column]]


def test_an_empty_region_finds_nothing_and_tells_every_slice() -> None:
    volume = dense_volume((1, 5, 5), shape=(3, 16, 16))
    heard: list[tuple[int, int]] = []

    label_map = segment_volume(
        volume,
        BINARY,
        sure,
        lambda done, total: heard.append((done, total)),
        region=np.zeros(volume.geometry.shape, dtype=np.bool_),
    )

    assert not label_map.calcium_mask.any()
    assert heard == [(1, 3), (2, 3), (3, 3)]


def test_what_the_network_said_of_every_dense_voxel_of_the_region_is_kept() -> None:
    volume = dense_volume((0, 5, 5), (0, 5, 9), (0, 12, 5), (1, 3, 3), shape=(3, 16, 16))
    region = region_of(volume, np.s_[:, 0:10, :])

    found = search_volume(
        volume,
        NAMING,
        network({(5, 5): {"VALVE": 3.0}, (5, 9): {"CORONARY": -20.0, "OTHER": 2.0}}),
        region=region,
    )

    at = np.array(np.unravel_index(found.voxels.indices, volume.geometry.shape)).T.tolist()
    assert at == [[0, 5, 5], [0, 5, 9], [1, 3, 3]]
    assert found.voxels.part is SearchedPart.HEART_REGION
    assert found.voxels.probabilities == pytest.approx([1.0, 0.0, 1.0], abs=1e-6)
    assert found.voxels.kinds is not None
    named = [found.voxels.kind_names[kind] for kind in found.voxels.kinds]
    assert named[:2] == ["VALVE", "OTHER"]


def test_a_kind_is_read_at_the_place_of_its_voxel_on_another_grid() -> None:
    # Pixels of 0.5 mm on the scan, 1 mm for the network: column 21 of the scan is column 10.25
    # of the grid, so the network's column 10 has the greater say.
    spec = ModelSpec(pixel_spacing_mm=1.0, labels=ALL_LABELS)
    volume = dense_volume((0, 20, 21), (0, 20, 30), shape=(1, 96, 96))

    found = search_volume(
        volume,
        spec,
        network({(10, 10): {"AORTA": 4.0}, (10, 11): {"LAD": 4.0}, (10, 15): {"OTHER": 4.0}}),
    )

    assert found.voxels.part is SearchedPart.WHOLE_SCAN
    assert found.voxels.kinds is not None
    assert [found.voxels.kind_names[kind] for kind in found.voxels.kinds] == ["AORTA", "OTHER"]


def test_a_binary_network_gives_probabilities_and_no_kinds() -> None:
    found = search_volume(dense_volume((0, 5, 5), shape=(1, 16, 16)), BINARY, sure)

    assert found.voxels.probabilities == pytest.approx([1.0])
    assert found.voxels.kinds is None
