"""Shape interpolation: between two circles lie circles."""

from __future__ import annotations

import numpy as np
import pytest

from calcium_scoring.volume.geometry import VolumeGeometry
from model_training.backgrounds.heart_mask import heart_mask
from model_training.backgrounds.marks import HeartOutline
from tests.unit.model_training.backgrounds.straight_artery import circle

GEOMETRY = VolumeGeometry.axial((7, 161, 161), (5.0, 0.5, 0.5), (-40.0, -40.0, -5.0))
OUTLINES = [HeartOutline(0.0, np.array(circle(15.0))), HeartOutline(20.0, np.array(circle(25.0)))]


def test_radius_of_the_heart_is_interpolated_between_its_outlines() -> None:
    mask = heart_mask(GEOMETRY, OUTLINES)

    # Slices lie at -5, 0, 5 ... 25 mm; the radius grows from 15 to 25 mm over 20 mm.
    areas_mm2 = mask.sum(axis=(1, 2)) * 0.25
    for index, radius_mm in enumerate((15.0, 17.5, 20.0, 22.5, 25.0), start=1):
        assert areas_mm2[index] == pytest.approx(np.pi * radius_mm**2, rel=0.03)


def test_no_heart_is_made_up_beyond_the_first_and_last_outline() -> None:
    mask = heart_mask(GEOMETRY, OUTLINES)

    assert not mask[0].any()
    assert not mask[-1].any()


def test_outline_outside_the_scan_is_an_error() -> None:
    far = [HeartOutline(z, np.array(circle(5.0)) + 500.0) for z in (0.0, 20.0)]

    with pytest.raises(ValueError, match=r"z = 0\.0 mm encloses no pixel"):
        heart_mask(GEOMETRY, far)
