"""Real scans and their simulated twins, cut to a few slices at the same anatomical levels."""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from calcium_scoring.dicom.read_series import read_ct_series
from calcium_scoring.phantom.patient import simulate_patient
from calcium_scoring.phantom.settings import PatientSettings, sample_patient

HuSlab: TypeAlias = NDArray[np.float32]

SLAB_SLICES: Final = 3
"""Slices around a level: enough to see how noise and edges go on along z."""

AIR_HU: Final = -1000.0
"""Air and padding are cut here: what lies below differs between makers, not between patients."""
HIGHEST_HU: Final = 3000.0


class Level(StrEnum):
    """Heights at which scans are compared, from above."""

    SHOULDERS = "shoulders"
    INLET = "inlet"
    ARCH = "arch"
    CARINA = "carina"
    TRUNK = "trunk"
    ROOT = "root"
    VALVE = "valve"
    MIDDLE = "middle"
    APEX = "apex"
    DOME = "dome"
    ABDOMEN = "abdomen"

    @property
    def crosses_heart(self) -> bool:
        """Whether the section shows the heart or the roots of its vessels."""
        return self in _HEART_HEIGHTS_MM

    @property
    def crosses_abdomen(self) -> bool:
        """Whether the section shows the organs below the diaphragm."""
        return self in {Level.DOME, Level.ABDOMEN}


_CHEST_HEIGHTS_MM: Final[Mapping[Level, float]] = {
    Level.SHOULDERS: 140.0,
    Level.INLET: 108.0,
    Level.ARCH: 84.0,
    Level.CARINA: 60.0,
}
_HEART_HEIGHTS_MM: Final[Mapping[Level, float]] = {
    Level.TRUNK: 42.0,
    Level.ROOT: 16.0,
    Level.VALVE: 0.0,
    Level.MIDDLE: -18.0,
    Level.APEX: -44.0,
}
"""Heights above the aortic valve of a simulated patient of scale 1, as its anatomy is laid out."""
_BELOW_DOME_MM: Final[Mapping[Level, float]] = {Level.DOME: 8.0, Level.ABDOMEN: 65.0}
"""Depths below the top of the right dome of the diaphragm."""


@dataclass(frozen=True)
class RealScan:
    """Where a real scan is and at which of its slices the levels are."""

    name: str
    archive: str
    slice_thickness_mm: float
    is_measured: bool
    """False: shown, but nothing is computed from it."""
    slice_of_level: Mapping[Level, int]


@dataclass(frozen=True, eq=False)
class Slab:
    """Neighbouring slices of a scan at a level.

    ``hu`` is (slice, row, column) in ascending z, ``spacing_mm`` in the same order.
    """

    level: Level
    hu: HuSlab
    spacing_mm: tuple[float, float, float]

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel."""
        return self.spacing_mm[1]


@dataclass(frozen=True, eq=False)
class Scan:
    """What is compared: a real scan, or a simulated patient scanned as one of them was."""

    name: str
    matched_to: str
    """Name of the real scan whose scanner settings it shares; its own name if it is real."""
    is_real: bool
    slabs: tuple[Slab, ...]


def marked_scans() -> tuple[RealScan, ...]:
    """Return the real scans whose levels were read off, as ``real_scans.toml`` lists them."""
    text = files("model_training.realism").joinpath("real_scans.toml").read_text(encoding="utf-8")
    return tuple(
        RealScan(
            name=entry["name"],
            archive=entry["archive"],
            slice_thickness_mm=float(entry["slice_thickness_mm"]),
            is_measured=bool(entry["measured"]),
            slice_of_level={Level(name): int(index) for name, index in entry["levels"].items()},
        )
        for entry in tomllib.loads(text)["scan"]
    )


def read_real_scan(
    real_data: Path, marked: RealScan, levels: Collection[Level] = tuple(Level)
) -> Scan:
    """Read a real scan as serving does and keep the slices at those of the levels that it has.

    Raises
    ------
    ValueError
        If the archive is not there, a marked slice lies outside the series, or none of the levels
        is marked.
    """
    archive = real_data / marked.archive
    if not archive.is_file():
        raise ValueError(f"{marked.name} is not at {archive}; name its folder with --real-data.")
    with tempfile.TemporaryDirectory() as workdir:
        volume = read_ct_series(archive, Path(workdir)).volume
    slabs = []
    for level, index in marked.slice_of_level.items():
        if level not in levels:
            continue
        first = index - SLAB_SLICES // 2
        if not 0 <= first <= len(volume.hu) - SLAB_SLICES:
            raise ValueError(
                f"{marked.name} has {len(volume.hu)} slices; level {level} at slice {index} "
                f"needs {SLAB_SLICES // 2} slices on either side."
            )
        hu = np.clip(volume.hu[first : first + SLAB_SLICES], AIR_HU, HIGHEST_HU)
        slabs.append(Slab(level, hu.astype(np.float32), volume.geometry.spacing_mm))
    if not slabs:
        raise ValueError(
            f"{marked.name} has none of the levels {', '.join(levels)}; "
            f"{', '.join(marked.slice_of_level)} are marked."
        )
    return Scan(marked.name, marked.name, is_real=True, slabs=tuple(slabs))


def simulate_twin(seed: int, real: Scan, marked: RealScan, *, noise_sd_hu: float) -> Scan:
    """Scan the simulated patient of a seed as a real one was scanned, at the same levels.

    Pixels, slices and noise are those of the real scan; patient, kernel and motion are drawn.
    The slabs are simulated one by one: each starts the same stream of noise anew.

    Parameters
    ----------
    noise_sd_hu
        Noise that the simulator is asked for, as measured in the heart of the real scan.
    """
    spacing, pixel_spacing, _ = real.slabs[0].spacing_mm
    rows = real.slabs[0].hu.shape[1]
    patient = sample_patient(seed)
    slabs = []
    for slab in real.slabs:
        twin = simulate_patient(
            seed,
            kind="chest",
            matrix_size=rows,
            pixel_spacing_mm=pixel_spacing,
            spacing_between_slices_mm=spacing,
            slice_thickness_mm=marked.slice_thickness_mm,
            z_extent_mm=SLAB_SLICES * spacing,
            z_centre_mm=height_mm(slab.level, patient) / patient.body_scale,
            noise_sd_hu=noise_sd_hu,
            centre_shift_mm=(0.0, 0.0),
        )
        hu = np.clip(twin.volume.hu, AIR_HU, HIGHEST_HU)
        slabs.append(Slab(slab.level, hu.astype(np.float32), twin.volume.geometry.spacing_mm))
    return Scan(f"phantom-{seed:06d}", marked.name, is_real=False, slabs=tuple(slabs))


def height_mm(level: Level, patient: PatientSettings) -> float:
    """Return the height of a level above the aortic valve of an adult of scale 1, in scan mm."""
    if level in _CHEST_HEIGHTS_MM:
        height = _CHEST_HEIGHTS_MM[level]
    elif level in _HEART_HEIGHTS_MM:
        height = patient.heart_shift_mm[2] + patient.heart_scale * _HEART_HEIGHTS_MM[level]
    else:
        height = patient.dome_mm - _BELOW_DOME_MM[level]
    return height * patient.body_scale
