"""Agatston score of coronary calcium.

Agatston et al., J Am Coll Cardiol 1990;15:827-832. A lesion is a connected region within one
slice; its score is its area times a weight from its own peak attenuation.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final

from calcium_scoring.scoring.lesions import SliceLesion
from calcium_scoring.scoring.protocol import ScoringProtocol

REFERENCE_SPACING_MM: Final = 3.0
"""Contiguous slice spacing on which the score was defined."""


def density_weight(peak_hu: float, protocol: ScoringProtocol) -> int:
    """Return the weight (0 to 4) of a lesion with this peak attenuation."""
    return bisect_right(protocol.density_weight_bounds_hu, peak_hu)


def agatston_score(
    lesions: Iterable[SliceLesion], protocol: ScoringProtocol, *, spacing_between_slices_mm: float
) -> float:
    """Sum area times density weight, scaled to the 3 mm spacing of the definition; unrounded.

    Parameters
    ----------
    lesions
        Lesions of one artery, or of the whole tree for the total score.
    protocol
        Bounds of the density weight.
    spacing_between_slices_mm
        Distance between slice centres, from their positions rather than from
        ``SliceThickness``: overlapping slices would otherwise count twice.
    """
    weighted_area_mm2 = sum(
        lesion.area_mm2 * density_weight(lesion.weighing_peak_hu, protocol) for lesion in lesions
    )
    return weighted_area_mm2 * spacing_between_slices_mm / REFERENCE_SPACING_MM
