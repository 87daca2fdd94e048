from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import pi

import numpy as np
import pytest

from calcium_scoring.phantom.acquisition import Scanner
from calcium_scoring.phantom.anatomy import Anatomy, build_anatomy
from calcium_scoring.phantom.metal import MetalPart, image_of_metal, sample_metal, stent, wire
from calcium_scoring.phantom.settings import PatientSettings, ScanSettings
from calcium_scoring.phantom.structures import Structure


@cache
def anatomy() -> Anatomy:
    return build_anatomy(PatientSettings(), np.random.SeedSequence(1).spawn(5))


def scanner() -> Scanner:
    scan = ScanSettings(
        matrix_size=96,
        pixel_spacing_mm=0.6,
        spacing_between_slices_mm=2.0,
        slice_thickness_mm=2.0,
        z_extent_mm=60.0,
        noise_sd_hu=0.0,
    )
    return Scanner(scan, (0.0, 0.0, 0.0))


def total(parts: list[MetalPart]) -> float:
    return float(sum(part.amounts.sum() for part in parts))


def test_wire_has_the_amount_of_a_cylinder() -> None:
    line = np.array([[0.0, 0.0, 0.0], [3.0, 4.0, 12.0]])

    # pi 0.5^2 mm2 x 13 mm x 8000 HU
    assert total(wire(line, 0.5, 8000.0)) == pytest.approx(pi * 0.25 * 13.0 * 8000.0)


@pytest.mark.parametrize("end", [(0.0, 0.0, 20.0), (18.0, 0.0, 0.0), (9.0, -9.0, 9.0)])
def test_image_of_a_wire_keeps_its_amount_whatever_its_direction(
    end: tuple[float, float, float],
) -> None:
    parts = wire(np.array([[0.3, -0.2, 0.1], end]), 0.4, 9000.0)
    scan = scanner()
    images = [image_of_metal(part, scan) for part in parts]

    measured = (
        sum(image.excess_hu.sum(dtype=np.float64) for image in images if image is not None)
        * scan.geometry.voxel_volume_mm3
    )
    assert measured == pytest.approx(total(parts), rel=0.02)


def test_wire_outside_the_scan_has_no_image() -> None:
    (part,) = wire(np.array([[0.0, 0.0, 80.0], [0.0, 0.0, 90.0]]), 0.4, 9000.0)

    assert image_of_metal(part, scanner()) is None


def test_stent_is_a_hollow_tube_of_its_radius_and_length() -> None:
    course = np.stack([np.zeros(11), np.zeros(11), np.linspace(0.0, 20.0, 11)], axis=1)

    (part,) = stent(course, 1.5, strut_mm=0.1, excess_hu=15000.0, cells=6, pitch_mm=1.2)

    assert part.owner is Structure.STENT
    assert np.hypot(part.points_mm[:, 0], part.points_mm[:, 1]) == pytest.approx(1.5, abs=0.1)
    assert part.points_mm[:, 2].min() >= -0.2
    assert part.points_mm[:, 2].max() == pytest.approx(20.0, abs=1.5)


def test_stents_lie_in_the_coronary_arteries() -> None:
    lumen = np.concatenate([b.lumen.points for b in anatomy().coronaries.branches])
    found = 0
    for seed in range(40):
        for part in sample_metal(anatomy(), body_scale=1.0, stream=np.random.SeedSequence(seed)):
            if part.owner is Structure.STENT:
                found += 1
                apart = np.linalg.norm(part.points_mm[::50, None] - lumen[None], axis=2).min(axis=1)
                assert apart.max() < 3.5

    assert found >= 1


def test_devices_are_only_there_where_the_settings_say_so() -> None:
    patient = replace(anatomy(), settings=PatientSettings(confuser_rate=0.0))
    with_device = replace(anatomy(), settings=PatientSettings(confuser_rate=0.0, has_metal=True))

    for seed in range(12):
        stream = np.random.SeedSequence(seed)
        assert sample_metal(patient, body_scale=1.0, stream=stream) == ()
        parts = sample_metal(with_device, body_scale=1.0, stream=stream)
        assert any(part.owner is Structure.METAL for part in parts)
