"""Noise of a scan, measured in its own soft tissue."""

from __future__ import annotations

import numpy as np
import pytest

from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from model_training.evaluation.image_noise import measured_noise_sd_hu


def volume_of(hu: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> CtVolume:
    slices, rows, columns = hu.shape
    return CtVolume(VolumeGeometry.axial((slices, rows, columns), (3.0, 0.5, 0.5)), hu)


@pytest.mark.parametrize("noise_sd_hu", [10.0, 40.0])
def test_noise_is_measured_beside_bone_air_and_fat(noise_sd_hu: float) -> None:
    rng = np.random.default_rng(0)
    tissue = np.full((12, 200, 200), 45.0)
    tissue[:, :60], tissue[:, 60:90], tissue[:, 180:] = -1000.0, -100.0, 900.0
    noisy = (tissue + rng.normal(0.0, noise_sd_hu, tissue.shape)).astype(np.float32)

    assert measured_noise_sd_hu(volume_of(noisy)) == pytest.approx(noise_sd_hu, rel=0.05)


def test_scan_without_soft_tissue_has_no_measured_noise() -> None:
    assert measured_noise_sd_hu(volume_of(np.full((3, 64, 64), -1000.0, np.float32))) is None
