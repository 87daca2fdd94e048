"""The same plaques scanned again: other noise, another place within the voxel grid, nothing else.

A short piece of a coronary artery in a small field of view, through the acquisition physics of the
phantom: in-plane point spread, slice profile and coloured noise that neighbouring slices share
where they overlap. A scan takes some hundredths of a second.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calcium_scoring.phantom.acquisition import Scanner
from calcium_scoring.phantom.deposits import Deposit, image_of
from calcium_scoring.phantom.exposure import REACH_EXCESS_HU, SEED_EXCESS_HU
from calcium_scoring.phantom.noise import NoiseSource
from calcium_scoring.phantom.settings import ScanSettings
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.label_map import Artery, LabelMap

FAT_HU: Final = -90.0
BLOOD_HU: Final = 45.0
_MYOCARDIUM_FROM_MM: Final = 7.0
_MATRIX: Final = 96
_EXTENT_MM: Final = 54.0
_SUPERSAMPLING: Final = 4
_EIGHT: Final = np.ones((3, 3), dtype=np.bool_)

NOISE_SD_HU: Final = {"low": 10.0, "medium": 20.0, "high": 30.0}
SLICES_MM: Final = {
    "1.25": (1.25, 1.25),
    "3 every 1.5": (3.0, 1.5),
    "2.5": (2.5, 2.5),
    "3": (3.0, 3.0),
    "5": (5.0, 5.0),
}
"""Thickness and spacing."""
BURDENS: Final = ("tiny", "small", "medium", "large")


@dataclass(frozen=True)
class PlaquePhantom:
    """A piece of artery along z with its plaques, and how it is scanned."""

    seed: int
    noise: str
    slices: str
    burden: str
    settings: ScanSettings
    vessel_radius_mm: float
    plaques: tuple[Deposit, ...]


@dataclass(frozen=True, eq=False)
class RepeatScan:
    """One scan of a phantom, with the voxels that are plaque by the rule of the simulator."""

    volume: CtVolume
    truth: LabelMap


def plaque_phantom(seed: int, *, noise: str, slices: str, burden: str) -> PlaquePhantom:
    """Draw the plaques of a seed; ranges are our choice."""
    rng = np.random.default_rng([seed, BURDENS.index(burden)])
    thickness, spacing = SLICES_MM[slices]
    settings = ScanSettings(
        kind="gated",
        matrix_size=_MATRIX,
        pixel_spacing_mm=float(rng.uniform(0.4, 0.75)),
        spacing_between_slices_mm=spacing,
        slice_thickness_mm=thickness,
        z_extent_mm=_EXTENT_MM,
        noise_sd_hu=NOISE_SD_HU[noise],
        psf_sigma_mm=float(rng.uniform(0.45, 0.65)),
    )
    radius = float(rng.uniform(1.5, 2.2))
    count, along, around, outwards, excess = _BURDEN_RANGES[burden]
    plaques = []
    for number in range(int(rng.integers(count[0], count[1] + 1))):
        angle, height = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(-16.0, 16.0)
        outward = np.array([np.cos(angle), np.sin(angle), 0.0])
        across = np.array([-np.sin(angle), np.cos(angle), 0.0])
        plaques.append(
            Deposit(
                owner=Artery.LAD,
                centre_lps_mm=(radius * outward[0], radius * outward[1], float(height)),
                frame=np.stack([np.array([0.0, 0.0, 1.0]), across, outward]),
                radii_mm=(
                    float(rng.uniform(*along)),
                    float(rng.uniform(*around)),
                    float(rng.uniform(*outwards)),
                ),
                excess_hu=float(np.exp(rng.uniform(*np.log(excess)))),
                roughness=float(rng.uniform(0.0, 0.4)),
                texture_seed=int(rng.integers(1 << 30)),
                plaque=number,
            )
        )
    return PlaquePhantom(seed, noise, slices, burden, settings, radius, tuple(plaques))


Range = tuple[float, float]
_BURDEN_RANGES: Final[dict[str, tuple[tuple[int, int], Range, Range, Range, Range]]] = {
    "tiny": ((1, 2), (0.6, 1.5), (0.5, 0.9), (0.4, 0.8), (250.0, 900.0)),
    "small": ((1, 3), (1.0, 2.2), (0.6, 1.2), (0.5, 0.9), (300.0, 1000.0)),
    "medium": ((2, 4), (1.5, 3.5), (0.8, 1.6), (0.6, 1.1), (300.0, 1100.0)),
    "large": ((3, 6), (2.5, 6.0), (1.2, 2.4), (0.8, 1.5), (350.0, 1200.0)),
}
"""Number of plaques, radii along, round and outwards in mm, and attenuation above tissue in HU."""


def scan_again(phantom: PlaquePhantom, number: int) -> RepeatScan:
    """Return scan ``number`` of a phantom: the grid lies elsewhere by less than a voxel."""
    stream = np.random.SeedSequence([phantom.seed, 7, number])
    places, noise_stream = stream.spawn(2)
    settings = phantom.settings
    voxel = (
        settings.pixel_spacing_mm,
        settings.pixel_spacing_mm,
        settings.spacing_between_slices_mm,
    )
    x, y, z = (np.random.default_rng(places).uniform(-0.5, 0.5, size=3) * voxel).tolist()
    scanner = Scanner(replace(settings), (x, y, z))
    plaque = np.zeros(scanner.geometry.shape, dtype=np.float32)
    for deposit in phantom.plaques:
        image = image_of(deposit, scanner)
        if image is not None:
            box = tuple(
                slice(start, start + size)
                for start, size in zip(image.corner, image.excess_hu.shape, strict=True)
            )
            plaque[box] += image.excess_hu
    tissue = _tissue(phantom, scanner)
    noise = NoiseSource(scanner, noise_stream)
    hu = np.stack(
        [np.rint(tissue + excess + noise.of_slice(index)) for index, excess in enumerate(plaque)]
    ).astype(np.float32)
    labels = np.stack([_truth(one, excess) for one, excess in zip(hu, plaque, strict=True)])
    geometry = scanner.geometry
    return RepeatScan(CtVolume(geometry, hu), LabelMap(geometry, labels))


def _tissue(phantom: PlaquePhantom, scanner: Scanner) -> NDArray[np.float32]:
    """Return one noise-free slice: fat, a vessel of blood, and muscle on one side."""
    size, pixel = scanner.settings.matrix_size, scanner.settings.pixel_spacing_mm
    fine = (np.arange(size * _SUPERSAMPLING) + 0.5) / _SUPERSAMPLING - 0.5
    x, y = scanner.origin[0] + fine * pixel, scanner.origin[1] + fine * pixel
    is_blood = np.hypot(x, y[:, np.newaxis]) <= phantom.vessel_radius_mm
    is_blood |= (y >= _MYOCARDIUM_FROM_MM)[:, np.newaxis]
    share = is_blood.reshape(size, _SUPERSAMPLING, size, _SUPERSAMPLING).mean(axis=(1, 3))
    return scanner.blurred((FAT_HU + (BLOOD_HU - FAT_HU) * share).astype(np.float32))


def _truth(hu: NDArray[np.float32], excess: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Label the plaque of one slice by the rule of the simulated patients."""
    candidate = (hu >= LITERATURE.threshold_hu) & (excess >= REACH_EXCESS_HU)
    regions, _ = ndimage.label(candidate, structure=_EIGHT)
    kept = np.unique(regions[candidate & (excess >= SEED_EXCESS_HU)])
    labels: NDArray[np.uint8] = np.where(
        np.isin(regions, kept[kept > 0]), int(Artery.LAD), 0
    ).astype(np.uint8)
    return labels
