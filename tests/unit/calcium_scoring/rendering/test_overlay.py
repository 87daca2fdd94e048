"""Pictures of slices with their calcium."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from calcium_scoring.dicom.write_segmentation import COLOR_OF_LABEL as COLOR_OF_SEGMENT
from calcium_scoring.rendering import key_slice_index, render_key_slice, render_overlay_png
from calcium_scoring.rendering.overlay import COLOR_OF_LABEL
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import CORONARY, Artery, LabelMap
from tests.builders import plaque_phantom, soft_tissue_volume


def pixels(png: bytes) -> NDArray[np.uint8]:
    return np.array(Image.open(BytesIO(png)).convert("RGB"))


def has_color(picture: NDArray[np.uint8], color: tuple[int, int, int]) -> bool:
    return bool((picture == color).all(axis=-1).any())


@pytest.mark.parametrize("label", [*Artery, CORONARY])
def test_calcium_is_outlined_in_the_colour_of_its_artery(label: int) -> None:
    volume, label_map = plaque_phantom(label=label)

    with_calcium = pixels(render_overlay_png(volume, label_map, 1))
    without = pixels(render_overlay_png(volume, label_map, 0))

    assert has_color(with_calcium, COLOR_OF_LABEL[label])
    assert not has_color(without, COLOR_OF_LABEL[label])


def test_masks_and_pictures_use_the_same_colours() -> None:
    assert COLOR_OF_SEGMENT == COLOR_OF_LABEL


def test_the_outline_runs_around_the_calcium_not_over_it() -> None:
    volume, label_map = plaque_phantom(peak_hu=1000.0)

    picture = pixels(render_overlay_png(volume, label_map, 1))

    # 32 pixels of 0.5 mm are shown on 768: the plaque lies on rows and columns 240 to 480.
    inside = picture[260:460, 260:460].reshape(-1, 3)
    assert not (inside == COLOR_OF_LABEL[CORONARY]).all(axis=-1).any()
    assert (picture[360, 237:240] == COLOR_OF_LABEL[CORONARY]).all(axis=-1).any()


def test_hounsfield_values_are_shown_in_the_window() -> None:
    volume = soft_tissue_volume(background_hu=40.0)
    empty = LabelMap(volume.geometry, np.zeros(volume.hu.shape, dtype=np.uint8))

    def gray(**window: float) -> int:
        return int(pixels(render_overlay_png(volume, empty, 0, **window))[200, 300, 0])

    assert gray() == 127  # the centre of the window
    assert gray(window_center_hu=300.0, window_width_hu=100.0) == 0
    assert gray(window_center_hu=-300.0, window_width_hu=100.0) == 255


def test_pixels_are_square_on_the_picture() -> None:
    volume = soft_tissue_volume(shape=(6, 32, 64), spacing_mm=(3.0, 1.0, 0.25))
    empty = LabelMap(volume.geometry, np.zeros(volume.hu.shape, dtype=np.uint8))

    height, width, _ = pixels(render_overlay_png(volume, empty, 0)).shape

    # 32 x 16 mm: 768 x 384 pixels, and the caption of 34.
    assert (height, width) == (768 + 34, 384)


def test_turned_grids_are_shown_with_the_right_side_on_the_left() -> None:
    volume, label_map = plaque_phantom()
    affine = volume.geometry.affine.copy()
    affine[:3, 3] += 31 * (affine[:3, 1] + affine[:3, 2])
    affine[:3, 1:3] *= -1
    turned = VolumeGeometry(volume.geometry.shape, affine)

    expected = render_overlay_png(volume, label_map, 1)
    shown = render_overlay_png(
        CtVolume(turned, volume.hu[:, ::-1, ::-1].copy()),
        LabelMap(turned, label_map.labels[:, ::-1, ::-1].copy()),
        1,
    )

    assert shown == expected


def test_the_key_slice_is_the_one_with_most_calcium_or_the_middle_one() -> None:
    volume, label_map = plaque_phantom()
    labels = label_map.labels.copy()
    labels[4, 5:20, 5:20] = CORONARY
    most_in_four = LabelMap(volume.geometry, labels)
    empty = LabelMap(volume.geometry, np.zeros_like(labels))

    assert key_slice_index(most_in_four) == 4
    assert key_slice_index(empty) == 3
    assert render_key_slice(volume, most_in_four) == render_overlay_png(volume, most_in_four, 4)


@pytest.mark.parametrize("slice_index", [-1, 6])
def test_a_slice_that_is_not_there_is_an_error(slice_index: int) -> None:
    volume, label_map = plaque_phantom()

    with pytest.raises(IndexError, match="not among 0 to 5"):
        render_overlay_png(volume, label_map, slice_index)


def chest_with_calcium_at(row: int, column: int) -> tuple[CtVolume, LabelMap]:
    volume = soft_tissue_volume(shape=(1, 384, 384), spacing_mm=(3.0, 1.0, 1.0))
    labels = np.zeros(volume.hu.shape, dtype=np.uint8)
    labels[0, row : row + 6, column : column + 6] = CORONARY
    return volume, LabelMap(volume.geometry, labels)


@pytest.mark.parametrize(
    ("row", "column", "top"),
    [(180, 180, 12), (30, 330, 768 - 236 - 12), (340, 330, 12), (180, 330, 12)],
    ids=["in the middle", "under the upper corner", "under the lower corner", "at the side"],
)
def test_the_magnified_view_never_hides_calcium(row: int, column: int, top: int) -> None:
    volume, label_map = chest_with_calcium_at(row, column)

    picture = pixels(render_overlay_png(volume, label_map, 0))

    # Two pixels of the picture for one of the slice; the outline lies just outside.
    assert (
        picture[2 * row - 1, 2 * column + 2 : 2 * column + 10] == COLOR_OF_LABEL[CORONARY]
    ).all()
    frame = picture[top - 1, 768 - 236 - 12 : 768 - 12]
    assert (frame == frame[0]).all()
    assert frame[0].min() > 200
