"""The rules of a score as data: part of every report, since the same mask scores differently."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final, Literal

InPlaneConnectivity = Literal[4, 8]


@dataclass(frozen=True)
class ScoringProtocol:
    """How pixels become lesions and lesions become a score.

    The default is the literature's rule (Agatston et al., J Am Coll Cardiol 1990;15:827-832)
    with a smallest area of 1 mm2. Eight-connected pixels reproduce the published scores of
    the QRM phantom; four-connected ones do not.
    """

    name: str = "literature"
    threshold_hu: float = 130.0
    density_weight_bounds_hu: tuple[float, float, float, float] = (130.0, 200.0, 300.0, 400.0)
    min_lesion_area_mm2: float = 1.0
    in_plane_connectivity: InPlaneConnectivity = 8

    def __post_init__(self) -> None:
        bounds = self.density_weight_bounds_hu
        if list(bounds) != sorted(bounds) or bounds[0] < self.threshold_hu:
            raise ValueError(
                f"Weight bounds must ascend from the threshold {self.threshold_hu} HU: {bounds}."
            )

    def min_lesion_pixels(self, pixel_area_mm2: float) -> int:
        """Return the smallest number of pixels whose area reaches the smallest lesion."""
        # The margin keeps a pixel of exactly 1 mm2 from being rounded up to two pixels.
        return max(1, ceil(self.min_lesion_area_mm2 / pixel_area_mm2 - 1e-9))


LITERATURE: Final = ScoringProtocol()
