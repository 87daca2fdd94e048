"""The scans that the benchmark scores: one simulated chest, in as many slices as are asked for."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Final

import numpy as np

from calcium_scoring.dicom.read_series import read_ct_series
from calcium_scoring.dicom.write_series import write_ct_series, zip_files
from calcium_scoring.phantom.patient import simulate_patient
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry

SEED: Final = 7
EXTENT_MM: Final = 300.0
"""Height of a chest; thirds of it lie above, in and below the heart."""
FIELD_OF_VIEW_MM: Final = 360.0


def chest_zip(folder: Path, *, slice_count: int, side: int) -> Path:
    """Return the archive of a simulated chest, of slices that lie side by side; made once."""

    def simulated() -> CtVolume:
        spacing_mm = EXTENT_MM / slice_count
        return simulate_patient(
            SEED,
            kind="chest",
            matrix_size=side,
            pixel_spacing_mm=FIELD_OF_VIEW_MM / side,
            spacing_between_slices_mm=spacing_mm,
            slice_thickness_mm=spacing_mm,
            z_extent_mm=EXTENT_MM,
            z_centre_mm=20.0,
            burden_category="101-400",
        ).volume

    path = folder / f"chest-{slice_count}x{side}.zip"
    if not path.is_file():
        _write_zip(simulated(), path)
    return path


def restacked_zip(source: Path, folder: Path, slice_count: int) -> Path:
    """Return the archive of a scan shown in another number of slices over the same height.

    Slices are repeated or left out, so that every share of the work grows with their number: parts
    with and without heart, with and without dense voxels. Only time and memory mean anything here.
    """
    path = folder / f"{source.stem}-as-{slice_count}.zip"
    if not path.is_file():
        with tempfile.TemporaryDirectory(prefix="cacscore-bench-") as scratch:
            volume = read_ct_series(source, Path(scratch)).volume
        total = volume.geometry.shape[0]
        chosen = (np.arange(slice_count) + 0.5) * total / slice_count
        affine = np.array(volume.geometry.affine)
        affine[:3, 0] *= total / slice_count
        geometry = VolumeGeometry((slice_count, *volume.geometry.shape[1:]), affine)
        _write_zip(CtVolume(geometry, volume.hu[chosen.astype(np.intp)], volume.acquisition), path)
    return path


def _write_zip(volume: CtVolume, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    with tempfile.TemporaryDirectory(prefix="cacscore-bench-", dir=path.parent) as scratch:
        zip_files(write_ct_series(volume, Path(scratch), seed=SEED), unfinished)
    shutil.move(unfinished, path)
