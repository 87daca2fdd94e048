"""Marks drawn over their scan, to be looked at before anything is inserted along them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from calcium_scoring.phantom.shapes import Tube
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import Artery
from model_training.backgrounds.marks import tube_through
from model_training.backgrounds.scan import Background
from model_training.backgrounds.variation import near_heart

_WINDOW_HU: Final = (-135.0, 215.0)
"""Width 350 at level 40, the usual window of the mediastinum."""
_MAGNIFICATION: Final = 3
_COLUMNS: Final = 4
_MARGIN_MM: Final = 12.0
_STEP_MM: Final = 5.0
_STEP_ALONG_MM: Final = 1.0
_CAPTION_RGB: Final = (255, 255, 0)
_HEART_RGB: Final = (255, 90, 90)
_AORTA_RGB: Final = (120, 200, 255)
_ANNULUS_RGB: Final = (255, 255, 120)
_ARTERY_RGB: Final = {
    Artery.LM: (255, 0, 255),
    Artery.LAD: (0, 255, 0),
    Artery.LCX: (0, 255, 255),
    Artery.RCA: (255, 170, 0),
}


def draw_marks(
    background: Background, path: Path, *, step_mm: float = _STEP_MM, margin_mm: float = _MARGIN_MM
) -> None:
    """Write a contact sheet of the heart: outline, arteries, aorta and annulus over the slices.

    A vessel is drawn as a circle of its radius wherever its centre line comes within half a slice
    distance of a slice.
    """
    geometry = background.volume.geometry
    inside = np.flatnonzero(background.heart.any(axis=(1, 2)))
    step = max(1, round(step_mm / geometry.spacing_between_slices_mm))
    rows, columns = _region(background, margin_mm)
    indices = range(int(inside[0]), int(inside[-1]) + 1, step)
    tiles = [_tile(background, index, rows, columns) for index in indices]
    width, height = tiles[0].size
    sheet = Image.new("RGB", (width * _COLUMNS, height * -(-len(tiles) // _COLUMNS)))
    for number, tile in enumerate(tiles):
        sheet.paste(tile, ((number % _COLUMNS) * width, (number // _COLUMNS) * height))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _region(background: Background, margin_mm: float) -> tuple[slice, slice]:
    box = near_heart(background.volume.geometry, background.heart, (0.0, margin_mm, margin_mm))
    return box[1], box[2]


@dataclass(frozen=True)
class _View:
    """One slice in the region that is shown."""

    geometry: VolumeGeometry
    index: int
    rows: slice
    columns: slice
    draw: ImageDraw.ImageDraw

    def tube(self, tube: Tube, rgb: tuple[int, int, int]) -> None:
        """Draw where a vessel comes within half a slice distance."""
        for point, radius_mm in zip(tube.points, tube.radii, strict=True):
            x, y, z = point.tolist()
            height, row, column = self.geometry.index_at((x, y, z))
            if abs(height - self.index) > 0.5:
                continue
            radius = float(radius_mm) / self.geometry.pixel_spacing_mm[0] * _MAGNIFICATION
            middle_x = (column - self.columns.start + 0.5) * _MAGNIFICATION
            middle_y = (row - self.rows.start + 0.5) * _MAGNIFICATION
            box = (middle_x - radius, middle_y - radius, middle_x + radius, middle_y + radius)
            self.draw.ellipse(box, outline=rgb)


def _tile(background: Background, index: int, rows: slice, columns: slice) -> Image.Image:
    low, high = _WINDOW_HU
    hu = background.volume.hu[index, rows, columns]
    gray = np.clip((hu - low) / (high - low) * 255.0, 0.0, 255.0).astype(np.uint8)
    size = (gray.shape[1] * _MAGNIFICATION, gray.shape[0] * _MAGNIFICATION)
    picture = Image.fromarray(gray).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    pixels = np.array(picture)
    pixels[_edge(background.heart[index, rows, columns])] = _HEART_RGB
    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    draw.text((3, 3), f"slice {index}", fill=_CAPTION_RGB)
    view = _View(background.volume.geometry, index, rows, columns, draw)
    for points in background.marks.aorta.values():
        view.tube(tube_through(points, step_mm=_STEP_ALONG_MM), _AORTA_RGB)
    for artery, points in background.marks.arteries.items():
        view.tube(tube_through(points, step_mm=_STEP_ALONG_MM), _ARTERY_RGB[artery])
    if len(background.marks.mitral_annulus) > 1:
        ring = np.pad(background.marks.mitral_annulus, ((0, 0), (0, 1)), constant_values=1.0)
        view.tube(tube_through(ring, step_mm=_STEP_ALONG_MM), _ANNULUS_RGB)
    return picture


def _edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    large = mask.repeat(_MAGNIFICATION, axis=0).repeat(_MAGNIFICATION, axis=1)
    edge: NDArray[np.bool_] = large & ~ndimage.binary_erosion(large)
    return edge
