"""A small body with a straight artery: soft tissue of 45 HU around a line parallel to z."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from calcium_scoring.volume.ct_volume import CtAcquisition, CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry

SHAPE = (24, 64, 64)
SPACING_MM = (2.5, 1.0, 1.0)
ORIGIN_MM = (-31.5, -31.5, 0.0)
TISSUE_HU = 45.0


def circle(radius_mm: float, count: int = 48) -> list[list[float]]:
    angles = np.linspace(0.0, 2.0 * np.pi, count, endpoint=False)
    return [[radius_mm * float(np.cos(a)), radius_mm * float(np.sin(a))] for a in angles]


def marks_content(**changes: object) -> dict[str, object]:
    content: dict[str, object] = {
        "name": "straight",
        "source": {
            "file": "straight.zip",
            "series_instance_uid": "1.2.3",
            "collection": "none",
            "subject": "nobody",
            "licence": "CC0",
            "doi": "none",
            "attribution": "nobody of none, CC0",
        },
        "z_range_mm": [0.0, 57.5],
        "scan": {"psf_sigma_mm": 0.6, "slice_thickness_mm": 2.5},
        "heart": [{"z_mm": z, "outline_mm": circle(25.0)} for z in (0.0, 57.5)],
        "arteries": {"LAD": [[15.0, 0.0, 50.0, 2.0], [15.0, 0.0, 7.5, 1.5]]},
        "aorta": {"descending": [[-15.0, 0.0, 0.0, 8.0], [-15.0, 0.0, 57.5, 8.0]]},
        "aortic_root": [[0.0, 0.0, 20.0], [0.0, 0.0, 30.0]],
        "mitral_annulus": [[0.0, 15.0, 20.0], [5.0, 15.0, 25.0], [8.0, 12.0, 30.0]],
        "dense_spots": [],
    }
    return content | changes


def write_marks(folder: Path, **changes: object) -> Path:
    content = marks_content(**changes)
    path = folder / f"{content['name']}.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def body(hu: float = TISSUE_HU) -> CtVolume:
    geometry = VolumeGeometry.axial(SHAPE, SPACING_MM, ORIGIN_MM)
    return CtVolume(geometry, np.full(SHAPE, hu, dtype=np.float32), CtAcquisition(kvp=120.0))
