"""Whether the whole heart is in the scan: along the body, and within the field of view."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import ndimage

from calcium_scoring.errors import HeartNotCovered, SeriesWarning
from calcium_scoring.model_input.heart_region import HeartRegion
from calcium_scoring.volume.ct_volume import AIR_HU
from calcium_scoring.volume.label_map import MaskArray

SHORTEST_COVERED_HEART_MM: Final = 60.0
"""A heart that is cut must be in the scan over at least this height: about half of the 90 to 160 mm
that were marked in four patients. Our choice."""

FIELD_OF_VIEW_MARGIN_MM: Final = 10.0
"""Coronary arteries run on the heart's surface; the field of view should reach this much further.
Our choice, the margin of the heart region."""

_OUTSIDE_HU: Final = AIR_HU + 4.0
"""What lies outside the field of view is set to AIR_HU throughout; air in a scan averages higher
because of its noise. Our choice."""


def covered_height_mm(region: HeartRegion) -> float:
    """Return how far the heart reaches along the body within the scan."""
    slices = np.flatnonzero((region.distance_mm == 0.0).any(axis=(1, 2)))
    if not slices.size:
        return 0.0
    thickness_mm = region.coarse.spacing_between_slices_mm
    return float(slices[-1] - slices[0] + 1) * thickness_mm


def check_coverage(region: HeartRegion) -> None:
    """Refuse a scan that ends or begins in the heart and shows too little of it.

    Raises
    ------
    HeartNotCovered
        The heart reaches the first or last slice, and less than
        :data:`SHORTEST_COVERED_HEART_MM` of it is in the scan.
    """
    height_mm = covered_height_mm(region)
    if region.is_cut and height_mm < SHORTEST_COVERED_HEART_MM:
        raise HeartNotCovered(
            f"The scan ends within the heart and shows {height_mm:.0f} mm of its height; at least "
            f"{SHORTEST_COVERED_HEART_MM:g} mm are needed for a score that means anything, and all "
            "of it for one that is complete. Send a series from above the left main artery to "
            "below the heart.",
            covered_height_mm=round(height_mm, 1),
            smallest_covered_height_mm=SHORTEST_COVERED_HEART_MM,
        )


def field_of_view_distance_mm(region: HeartRegion) -> float:
    """Return the shortest way within a slice from the heart to the edge of the field of view.

    0 where the heart reaches the edge. The edge is the border of the image, or where a round field
    of view ends within it. In steps of the coarse grid.
    """
    heart = region.distance_mm == 0.0
    _, row_mm, column_mm = region.coarse.spacing_mm
    shortest_mm = np.inf
    for inside, outside in zip(heart, _outside_field_of_view(region), strict=True):
        if not inside.any():
            continue
        padded = np.pad(outside, 1, constant_values=True)
        distance = ndimage.distance_transform_edt(~padded, sampling=(row_mm, column_mm))
        # From middle to middle; the edges of both voxels face each other.
        between = distance[1:-1, 1:-1][inside].min() - min(row_mm, column_mm)
        shortest_mm = min(shortest_mm, float(between))
    return max(0.0, shortest_mm)


def field_of_view_warnings(region: HeartRegion) -> tuple[SeriesWarning, ...]:
    """Warn where the field of view ends close to the heart."""
    distance_mm = field_of_view_distance_mm(region)
    if distance_mm >= FIELD_OF_VIEW_MARGIN_MM:
        return ()
    how = (
        "The heart reaches the edge of the field of view"
        if distance_mm == 0.0
        else f"The field of view ends {distance_mm:.0f} mm beside the heart"
    )
    return (
        SeriesWarning(
            "field_of_view_near_heart",
            f"{how}; {FIELD_OF_VIEW_MARGIN_MM:g} mm more than the heart are wanted. Calcium beyond "
            "the edge is not in the score.",
            {
                "distance_mm": round(distance_mm, 1),
                "wanted_distance_mm": FIELD_OF_VIEW_MARGIN_MM,
            },
        ),
    )


def _outside_field_of_view(region: HeartRegion) -> MaskArray:
    outside: MaskArray = region.coarse_hu <= _OUTSIDE_HU
    # Slices without any content end the scan, not the field of view.
    outside[outside.all(axis=(1, 2))] = False
    return outside
