from __future__ import annotations

from math import pi

import numpy as np
import pytest

from calcium_scoring.phantom.cylinders import CylinderInsert, CylinderPhantom, cylinder_phantom
from calcium_scoring.scoring.agatston import agatston_score
from calcium_scoring.scoring.lesions import find_slice_lesions
from calcium_scoring.scoring.protocol import LITERATURE


def score(phantom: CylinderPhantom) -> float:
    return agatston_score(
        find_slice_lesions(phantom.volume, phantom.truth, LITERATURE),
        LITERATURE,
        spacing_between_slices_mm=phantom.volume.geometry.spacing_between_slices_mm,
    )


@pytest.mark.parametrize(("hu", "weight"), [(180.0, 1), (250.0, 2), (350.0, 3), (900.0, 4)])
def test_cylinder_scores_area_times_weight_times_slices(hu: float, weight: int) -> None:
    # Its ends lie on slice borders: slices 4 and 5, centred at 12 and 15 mm. The background
    # is chosen so that the threshold is crossed half way up the edge.
    insert = CylinderInsert((16.1, 15.2, 13.5), radius_mm=5.0, length_mm=6.0, hu=hu)
    phantom = cylinder_phantom([insert], background_hu=260.0 - hu, spacing_mm=(3.0, 0.25, 0.25))

    assert score(phantom) == pytest.approx(2 * 25.0 * pi * weight, rel=0.01)


def test_score_of_a_long_cylinder_does_not_depend_on_the_spacing() -> None:
    insert = CylinderInsert((16.1, 15.2, 21.0), radius_mm=4.0, length_mm=30.0, hu=250.0)
    thick, thin = (
        cylinder_phantom([insert], shape=(count, 128, 128), spacing_mm=(spacing, 0.25, 0.25),
                         origin_lps_mm=(0.0, 0.0, 0.5 * spacing), background_hu=10.0)
        for spacing, count in ((3.0, 16), (1.5, 32))
    )  # fmt: skip

    # pi 16 mm2 x weight 2 x 30 mm / 3 mm
    assert score(thick) == pytest.approx(pi * 16.0 * 2 * 10.0, rel=0.015)
    assert score(thin) == pytest.approx(score(thick), rel=1e-6)


@pytest.mark.parametrize("psf_sigma_mm", [0.0, 0.7])
def test_mass_survives_blur_and_partial_volume(psf_sigma_mm: float) -> None:
    insert = CylinderInsert((31.3, 31.9, 22.0), radius_mm=2.5, length_mm=5.0, hu=640.0)
    phantom = cylinder_phantom([insert], psf_sigma_mm=psf_sigma_mm)

    excess = (phantom.volume.hu.astype(np.float64) - 40.0).sum()
    mass_mg = excess * phantom.volume.geometry.voxel_volume_mm3 * 0.77 / 1000.0
    # 600 HU x 0.77 mg/cm3/HU x pi 6.25 x 5 mm3
    assert mass_mg == pytest.approx(600.0 * 0.77 * pi * 31.25 / 1000.0, rel=0.005)
    assert insert.mass_mg(40.0) == pytest.approx(mass_mg, rel=0.005)


def test_thick_slices_halve_the_excess_of_a_thin_disc() -> None:
    insert = CylinderInsert((32.0, 31.0, 12.0), radius_mm=5.0, length_mm=1.5, hu=440.0)
    phantom = cylinder_phantom([insert], spacing_mm=(3.0, 0.5, 0.5))

    # 1.5 of 3 mm: 40 + 400 / 2
    assert phantom.volume.hu.max() == pytest.approx(240.0)
