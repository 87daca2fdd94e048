"""The rules of a score as data: part of every report, since the same mask scores differently.

A protocol says what a lesion is (connectivity, smallest size, threshold) and how it is weighed.
:mod:`calcium_scoring.scoring.conventions` has the named ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Final, Literal

from calcium_scoring.scoring.tube_voltage import CONSTANT_130, TUBE_VOLTAGE_TABLES

InPlaneConnectivity = Literal[4, 8]
AcrossSlicesConnectivity = Literal[6, 18, 26]
PeakOver = Literal["slice", "lesion"]


@dataclass(frozen=True)
class ScoringProtocol:
    """How voxels become lesions and lesions become a score.

    The default is the literature's rule (Agatston et al., J Am Coll Cardiol 1990;15:827-832)
    with a smallest area of 1 mm2. Eight-connected pixels reproduce the published scores of
    the QRM phantom; four-connected ones do not.

    Parameters
    ----------
    name
        Stable public name.
    threshold_hu, is_threshold_inclusive
        Voxels at or above the threshold are calcium; above it only, where it is not inclusive.
    density_weight_bounds_hu
        Peaks from which the weight is 1, 2, 3 and 4.
    min_lesion_area_mm2, min_lesion_pixel_count
        Regions that miss either are noise; the area counts within a slice only.
    in_plane_connectivity
        Whether pixels that touch at a corner belong together (8) or not (4), for regions that
        are formed slice by slice.
    connectivity_3d
        Number of neighbours that a voxel has where regions are formed across slices; None where
        they are formed slice by slice. The smallest pixel count then is one of voxels.
    peak_over
        Whose peak weighs a region within a slice: its own (``slice``), or that of the whole
        lesion across slices (``lesion``).
    tube_voltage_table
        Name of a table of :mod:`calcium_scoring.scoring.tube_voltage`.
    """

    name: str = "literature"
    threshold_hu: float = 130.0
    density_weight_bounds_hu: tuple[float, float, float, float] = (130.0, 200.0, 300.0, 400.0)
    min_lesion_area_mm2: float = 1.0
    in_plane_connectivity: InPlaneConnectivity = 8
    min_lesion_pixel_count: int = 1
    is_threshold_inclusive: bool = True
    connectivity_3d: AcrossSlicesConnectivity | None = None
    peak_over: PeakOver = "slice"
    tube_voltage_table: str = CONSTANT_130.name

    def __post_init__(self) -> None:
        bounds = self.density_weight_bounds_hu
        if list(bounds) != sorted(bounds) or bounds[0] < self.threshold_hu:
            raise ValueError(
                f"Weight bounds must ascend from the threshold {self.threshold_hu} HU: {bounds}."
            )
        if self.connectivity_3d is not None and self.min_lesion_area_mm2 > 0.0:
            raise ValueError(
                "A lesion across slices has no one area; its smallest size is a count of voxels."
            )
        if self.tube_voltage_table not in TUBE_VOLTAGE_TABLES:
            raise ValueError(
                f"There is no tube voltage table {self.tube_voltage_table!r}; there are "
                f"{', '.join(TUBE_VOLTAGE_TABLES)}."
            )

    def min_lesion_pixels(self, pixel_area_mm2: float) -> int:
        """Return the smallest number of pixels that a region must have to be a lesion."""
        # The margin keeps a pixel of exactly 1 mm2 from being rounded up to two pixels.
        by_area = ceil(self.min_lesion_area_mm2 / pixel_area_mm2 - 1e-9)
        return max(1, by_area, self.min_lesion_pixel_count)

    def at_tube_voltage(self, kvp: float | None) -> ScoringProtocol:
        """Return the protocol with the threshold and bounds of its table at this tube voltage.

        Unchanged where the table says nothing about the voltage; the report warns of that.
        """
        thresholds = TUBE_VOLTAGE_TABLES[self.tube_voltage_table].at(kvp)
        if thresholds is None:
            return self
        return replace(
            self,
            threshold_hu=thresholds.threshold_hu,
            density_weight_bounds_hu=thresholds.density_weight_bounds_hu,
        )


LITERATURE: Final = ScoringProtocol()
