"""Mass score: calibration factor times mean attenuation times volume, in mg hydroxyapatite.

Hong et al., Radiology 2002;223:474-480. The factor is the density of a hydroxyapatite insert
over its HU above water, from a calibration scan; without it there is no mass.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    # The settings of the gateway ask for a bound here, and a gateway measures no lesion.
    from calcium_scoring.scoring.lesions import SliceLesion

MM3_PER_CM3: Final = 1000.0

LARGEST_MASS_CALIBRATION_FACTOR: Final = 10.0
"""At 120 kVp a factor is about 0.7 to 0.8; one beyond this is a slip of the unit. Our choice."""


def mass_score_mg(
    lesions: Iterable[SliceLesion],
    *,
    voxel_volume_mm3: float,
    mass_calibration_factor: float | None,
) -> float | None:
    """Return the mass in mg, or None without a calibration factor.

    ``mass_calibration_factor`` is in mg / (cm3 HU): about 0.7 to 0.8 at 120 kVp.
    """
    if mass_calibration_factor is None:
        return None
    attenuation_volume = sum(
        lesion.mean_hu * lesion.pixel_count * voxel_volume_mm3 for lesion in lesions
    )
    return mass_calibration_factor * attenuation_volume / MM3_PER_CM3
