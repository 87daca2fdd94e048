"""Regions drawn in OsiriX or Horos and exported as a property list ("Export ROIs as XML").

``{Images: [{ImageIndex, NumberOfROIs, ROIs: [{Name, NumberOfPoints, Point_px: ["(x, y)", ...],
Area, Mean, Total, ...}]}]}``. A region carries its own measurements: ``Total`` is the sum of HU
over all its pixels and ``Mean`` their mean, so it can be checked that a region is drawn on the
slice, and filled by the rule, with which it was measured.
"""

from __future__ import annotations

import plistlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xml.parsers.expat import ExpatError

import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon2mask

from calcium_scoring.volume.ct_volume import HuArray
from calcium_scoring.volume.label_map import MaskArray

MIN_POLYGON_POINTS: Final = 3

TOTAL_TOLERANCE: Final = 0.001
"""The sum of HU may differ from ``Total`` by this part of it, and by 1 HU in any case, as both
were rounded when they were written. Our choice."""


class UnreadableRois(ValueError):
    """The file is no property list of regions."""


@dataclass(frozen=True)
class Roi:
    """One region: slice index in ascending z from 0, and corners as (row, column) in pixels.

    ``mean_hu`` and ``total_hu`` are what OsiriX measured, None where it says nothing.
    """

    image_index: int
    number: int
    name: str
    points: tuple[tuple[float, float], ...]
    mean_hu: float | None
    total_hu: float | None

    @property
    def is_drawn(self) -> bool:
        """Whether it has enough corners to enclose anything."""
        return len(self.points) >= MIN_POLYGON_POINTS

    @property
    def pixel_count(self) -> int | None:
        """Number of pixels by its own measurements; None where they do not tell."""
        if not self.mean_hu or self.total_hu is None:
            return None
        return round(self.total_hu / self.mean_hu)

    @property
    def place(self) -> str:
        """Return where to look for it in the file."""
        return f"ROI {self.number} ({self.name!r}) of ImageIndex {self.image_index}"


@dataclass(frozen=True)
class RoiFit:
    """A region as it lies on a slice, beside what it says of itself."""

    roi: Roi
    mask: MaskArray
    pixel_count: int
    total_hu: float

    @property
    def can_be_checked(self) -> bool:
        """Whether the region carries measurements."""
        return self.roi.pixel_count is not None

    @property
    def is_reproduced(self) -> bool:
        """Whether number of pixels and sum of HU are those that OsiriX measured."""
        if self.roi.pixel_count is None or self.roi.total_hu is None:
            return False
        tolerance_hu = max(1.0, TOTAL_TOLERANCE * abs(self.roi.total_hu))
        return (
            self.pixel_count == self.roi.pixel_count
            and abs(self.total_hu - self.roi.total_hu) <= tolerance_hu
        )


def read_osirix_rois(path: Path) -> list[Roi]:
    """Read all regions of a file, in its order.

    Raises
    ------
    UnreadableRois
        The file is no property list, or a region lacks what places it.
    """
    try:
        content: Any = plistlib.loads(path.read_bytes())
        return [
            _roi(image, number, region)
            for image in content["Images"]
            for number, region in enumerate(image["ROIs"])
        ]
    except (
        OSError,
        ExpatError,
        plistlib.InvalidFileException,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:
        raise UnreadableRois(
            f"{path.name} is no OsiriX list of regions (Images, ImageIndex, ROIs, Name, "
            f"Point_px): {type(error).__name__} {error}"
        ) from error


def fit_roi(roi: Roi, hu: HuArray) -> RoiFit:
    """Fill a region on its slice of ``hu`` (slice, row, column).

    Pixels are inside by their integer position (row, column), without a half-pixel offset; those
    on the outline belong to it (``skimage.draw.polygon2mask``).

    Raises
    ------
    IndexError
        If the slice does not exist.
    """
    if not 0 <= roi.image_index < hu.shape[0]:
        raise IndexError(f"{roi.place} is not among the {hu.shape[0]} slices.")
    plane = hu[roi.image_index]
    mask = _filled(roi.points, plane.shape)
    values: NDArray[np.float64] = plane[mask].astype(np.float64)
    return RoiFit(roi, mask, int(values.size), float(values.sum()))


def _filled(points: Sequence[tuple[float, float]], shape: tuple[int, ...]) -> MaskArray:
    if len(points) < MIN_POLYGON_POINTS:
        return np.zeros(shape, dtype=np.bool_)
    mask: MaskArray = polygon2mask(shape, np.array(points))  # type: ignore[no-untyped-call]
    return mask


def _roi(image: Mapping[str, Any], number: int, region: Mapping[str, Any]) -> Roi:
    mean, total = region.get("Mean"), region.get("Total")
    return Roi(
        image_index=int(image["ImageIndex"]),
        number=number,
        name=str(region["Name"]).strip(),
        points=tuple(_row_and_column(point) for point in region["Point_px"]),
        mean_hu=None if mean is None else float(mean),
        total_hu=None if total is None else float(total),
    )


def _row_and_column(point: str) -> tuple[float, float]:
    x, y = (float(part) for part in point.strip().strip("()").split(","))
    if not (np.isfinite(x) and np.isfinite(y)):
        raise ValueError(f"point {point!r} is not finite")
    return y, x
