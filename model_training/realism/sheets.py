"""Contact sheets: a real scan beside simulated ones, level by level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from model_training.realism.scans import AIR_HU, Scan, Slab
from model_training.realism.zones import body_of


@dataclass(frozen=True)
class Window:
    """Which HU are shown from black to white."""

    name: str
    width_hu: float
    level_hu: float


SOFT_TISSUE: Final = Window("soft", 400.0, 40.0)
LUNG: Final = Window("lung", 1500.0, -400.0)
HEART_CLOSE: Final = Window("close", 400.0, 40.0)

SHEET_MM: Final = (300.0, 400.0)
"""Height and width of what a tile shows, around the middle of the body."""
CLOSE_MM: Final = (150.0, 180.0)
"""The same around the heart, for the sheet of close-ups."""
PIXEL_MM: Final = 0.9
CLOSE_PIXEL_MM: Final = 0.42
LEVELS_PER_SHEET: Final = 4
HEART_SHIFT_MM: Final = (-45.0, 12.0)
"""From the middle of the body to that of the heart: to the front and to the left."""


def write_sheets(out: Path, real: Scan, twins: Sequence[Scan]) -> list[Path]:
    """Write the sheets of a real scan and its twins as PNG; real pixels are in them.

    One row a level, the real scan first. Each sheet has at most four rows. Sheets ``soft`` and
    ``close`` are shown at width 400, level 40; ``lung`` at width 1500, level -400.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = []
    columns = (real, *twins)
    for window in (SOFT_TISSUE, LUNG, HEART_CLOSE):
        is_close = window is HEART_CLOSE
        rows = [
            index
            for index, slab in enumerate(real.slabs)
            if slab.level.crosses_heart or not is_close
        ]
        rows.sort(key=lambda index: list(type(real.slabs[0].level)).index(real.slabs[index].level))
        for number, first in enumerate(range(0, len(rows), LEVELS_PER_SHEET), start=1):
            chosen = rows[first : first + LEVELS_PER_SHEET]
            tiles = [
                np.hstack([tile(scan.slabs[row], window, is_close=is_close) for scan in columns])
                for row in chosen
            ]
            picture = Image.fromarray(np.vstack(tiles))
            _write_names(picture, columns, [real.slabs[row].level.value for row in chosen])
            path = out / f"{real.name}-{window.name}-{number}.png"
            picture.save(path)
            written.append(path)
    return written


def tile(slab: Slab, window: Window, *, is_close: bool) -> NDArray[np.uint8]:
    """Return the middle slice of a slab as gray values, centred on the body or the heart."""
    image = slab.hu[len(slab.hu) // 2]
    body = body_of(image, slab.pixel_mm)
    row, column = ndimage.center_of_mass(body) if body.any() else np.array(image.shape) / 2.0
    height, width = CLOSE_MM if is_close else SHEET_MM
    pixel = CLOSE_PIXEL_MM if is_close else PIXEL_MM
    if is_close:
        row += HEART_SHIFT_MM[0] / slab.pixel_mm
        column += HEART_SHIFT_MM[1] / slab.pixel_mm
    rows = row + (np.arange(round(height / pixel)) * pixel - 0.5 * height) / slab.pixel_mm
    columns = column + (np.arange(round(width / pixel)) * pixel - 0.5 * width) / slab.pixel_mm
    grid = np.meshgrid(rows, columns, indexing="ij")
    hu = ndimage.map_coordinates(image, grid, order=1, cval=AIR_HU)
    low = window.level_hu - 0.5 * window.width_hu
    gray = np.clip((hu - low) / window.width_hu, 0.0, 1.0) * 255.0
    return np.asarray(np.rint(gray), dtype=np.uint8)


def _write_names(picture: Image.Image, columns: Sequence[Scan], levels: Sequence[str]) -> None:
    draw = ImageDraw.Draw(picture)
    width, height = picture.width // len(columns), picture.height // len(levels)
    for row, level in enumerate(levels):
        for column, scan in enumerate(columns):
            draw.text((column * width + 4, row * height + 3), f"{scan.name}  {level}", fill=255)
