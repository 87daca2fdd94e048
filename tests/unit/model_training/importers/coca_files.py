"""Files as COCA holds them, around series of noise."""

from __future__ import annotations

import plistlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from openpyxl import Workbook

from calcium_scoring.volume.ct_volume import CtVolume
from tests.series_builders import noise_volume, write_series

LAD = "Left Anterior Descending Artery"
RCA = "Right Coronary Artery"


def calcium_volume(*, seed: int = 0, slice_count: int = 9) -> CtVolume:
    """Soft tissue whose every value differs, with 8 x 8 pixels of 400 HU in slices 2 and 3."""
    blank = noise_volume(slice_count)
    hu = np.random.default_rng(seed).integers(-60, 100, blank.hu.shape).astype(np.float32)
    hu[:, :4, :] = -1000.0
    hu[2:4, 20:28, 30:38] = 400.0
    return CtVolume(blank.geometry, hu, blank.acquisition)


def square(x: int, y: int, width: int, height: int) -> list[str]:
    """Corners whose outline holds ``width`` x ``height`` pixels."""
    right, lower = x + width - 1, y + height - 1
    corners = [(x, y), (right, y), (right, lower), (x, lower)]
    return [f"({column:.6f}, {row:.6f})" for column, row in corners]


def roi(
    name: str,
    points: Sequence[str],
    *,
    pixels: int = 0,
    mean: float = 0.0,
    total: float | None = None,
) -> dict[str, Any]:
    return {
        "Name": name,
        "NumberOfPoints": len(points),
        "Point_px": list(points),
        "Point_mm": [],
        "Area": float(pixels),
        "Mean": mean,
        "Total": pixels * mean if total is None else total,
    }


def write_rois(path: Path, rois: Mapping[int, Sequence[Mapping[str, Any]]]) -> Path:
    """Write a property list with the regions of each ImageIndex."""
    images = [
        {"ImageIndex": index, "NumberOfROIs": len(regions), "ROIs": [dict(one) for one in regions]}
        for index, regions in rois.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(plistlib.dumps({"Images": images}))
    return path


def write_patient(
    root: Path,
    number: int,
    rois: Mapping[int, Sequence[Mapping[str, Any]]] | None,
    *,
    volume: CtVolume | None = None,
    series: str = "Pro_Gated_CS_3.0",
) -> list[Path]:
    """Write one patient of the gated part; without ``rois`` there is no XML file."""
    (root / "calcium_xml").mkdir(parents=True, exist_ok=True)
    if rois is not None:
        write_rois(root / "calcium_xml" / f"{number}.xml", rois)
    folder = root / "patient" / str(number) / series
    return write_series(folder, volume or calcium_volume(), seed=number * 100 + len(series))


def write_scores(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    """Write ``scores.xlsx`` with its heading."""
    book = Workbook()
    sheet = book.worksheets[0]
    for row in (("filename", "LCA", "LAD", "LCX", "RCA", "total"), *rows):
        sheet.append(list(row))
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)
    return path
