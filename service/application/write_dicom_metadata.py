"""Leaves the attributes of a result's DICOM objects for the gateway, which cannot read DICOM."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from calcium_scoring.dicom.json_model import json_model


def write_dicom_metadata(folder: Path, names: Iterable[str], out: Path) -> None:
    """Write the attributes of these DICOM files of a folder as one JSON file."""
    document = {name: json_model(folder / name) for name in names}
    out.write_text(json.dumps(document, ensure_ascii=False, allow_nan=False), encoding="utf-8")
