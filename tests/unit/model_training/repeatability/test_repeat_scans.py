"""A repeat scan differs from the first in noise and in where the voxels lie, in nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model_training.repeatability.repeat_scans import (
    BLOOD_HU,
    PlaquePhantom,
    plaque_phantom,
    scan_again,
)


def phantom(noise_sd_hu: float = 20.0) -> PlaquePhantom:
    drawn = plaque_phantom(11, noise="medium", slices="3", burden="medium")
    return replace(drawn, settings=replace(drawn.settings, noise_sd_hu=noise_sd_hu))


def test_a_seed_and_a_number_give_the_same_scan() -> None:
    first, again, other = (scan_again(phantom(), number) for number in (0, 0, 1))

    assert np.array_equal(first.volume.hu, again.volume.hu)
    assert not np.array_equal(first.volume.hu, other.volume.hu)


def test_the_grid_of_a_repeat_lies_elsewhere_by_less_than_a_voxel() -> None:
    origins = np.array([scan_again(phantom(), n).volume.geometry.affine[:3, 3] for n in range(6)])

    settings = phantom().settings
    voxel = (
        settings.pixel_spacing_mm,
        settings.pixel_spacing_mm,
        settings.spacing_between_slices_mm,
    )
    spread = np.ptp(origins, axis=0)
    assert (spread > 0.0).all()
    assert (spread < voxel).all()


def test_without_noise_the_calcium_above_tissue_is_the_same_in_every_scan() -> None:
    quiet = phantom(noise_sd_hu=0.0)
    bare = replace(quiet, plaques=())
    sums = []
    for number in range(3):
        excess = scan_again(quiet, number).volume.hu - scan_again(bare, number).volume.hu
        sums.append(float(excess.sum(dtype=np.float64)))

    voxel_mm3 = scan_again(quiet, 0).volume.geometry.voxel_volume_mm3
    expected = sum(one.excess_hu * one.volume_mm3 for one in quiet.plaques) / voxel_mm3
    # HU are whole: rounding leaves some thousandths.
    assert sums == pytest.approx([expected] * 3, rel=0.02)


def test_the_mask_holds_dense_voxels_of_plaque_only() -> None:
    scan = scan_again(phantom(), 0)

    marked = scan.truth.calcium_mask
    assert marked.any()
    assert (scan.volume.hu[marked] >= 130.0).all()
    bare = scan_again(replace(phantom(), plaques=()), 0)
    assert not bare.truth.calcium_mask.any()


def test_muscle_has_the_noise_that_was_asked_for() -> None:
    scan = scan_again(phantom(), 0)

    muscle = scan.volume.hu[:, -20:, :].astype(np.float64)
    assert muscle.mean() == pytest.approx(BLOOD_HU, abs=1.0)
    assert muscle.std() == pytest.approx(20.0, rel=0.1)
