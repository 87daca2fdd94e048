"""What is needed to draw any slice later, without DICOM and without the volume.

Drawing every slice while the volume is in memory would add a seventh of a second a slice to each
study, mostly for pictures that nobody opens. Kept instead is a zip of the windowed slices, 8 bit,
and of the labels where there are any: some ten MB for a chest, from which the gateway draws the
slice that is asked for, pixel by pixel the same as from the volume itself.
"""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from calcium_scoring.rendering import render_overlay_png
from calcium_scoring.rendering.overlay import WINDOW_CENTER_HU, WINDOW_WIDTH_HU
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import LabelMap
from service.application.progress import Fraction

_GEOMETRY: Final = "geometry.json"
_LEVELS: Final = 255
_LOWEST_HU: Final = WINDOW_CENTER_HU - WINDOW_WIDTH_HU / 2
_HU_PER_LEVEL: Final = WINDOW_WIDTH_HU / _LEVELS

_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PNG_FILTER_UP: Final = 2

_FIRST_ZIP_DATE: Final = (1980, 1, 1, 0, 0, 0)
"""A constant date keeps the archive the same, byte for byte, whenever it is written."""


def write_preview(
    volume: CtVolume, label_map: LabelMap, path: Path, progress: Fraction = lambda _done: None
) -> None:
    """Write the preview of a scored volume."""
    geometry = volume.geometry
    # Stored, not deflated: PNG is compressed already, and one slice is found without the others.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        _write(
            archive,
            _GEOMETRY,
            json.dumps({"shape": geometry.shape, "affine": geometry.affine.tolist()}).encode(),
        )
        for index, labels in enumerate(label_map.labels):
            hu = volume.slice_hu(index)
            levels = np.clip((hu - _LOWEST_HU) / _HU_PER_LEVEL, 0, _LEVELS).astype(np.uint8)
            _write(archive, f"{index}.png", _png(levels))
            if labels.any():
                _write(archive, f"{index}-labels.png", _png(labels))
            progress((index + 1) / geometry.shape[0])


def render_slice(preview: BinaryIO, slice_index: int) -> bytes:
    """Return the overlay of one slice as a PNG; IndexError where there is no such slice."""
    with zipfile.ZipFile(preview) as archive:
        facts = json.loads(archive.read(_GEOMETRY))
        names = set(archive.namelist())
        if f"{slice_index}.png" not in names:
            raise IndexError(f"Slice {slice_index} is not among 0 to {facts['shape'][0] - 1}.")
        levels = _pixels(archive.read(f"{slice_index}.png"))
        labels = np.zeros_like(levels)
        if f"{slice_index}-labels.png" in names:
            labels = _pixels(archive.read(f"{slice_index}-labels.png"))
    geometry = VolumeGeometry(tuple(facts["shape"]), np.array(facts["affine"]))
    # The middle of a level, so that it becomes the same level again.
    hu = ((levels + 0.5) * _HU_PER_LEVEL + _LOWEST_HU).astype(np.float32)
    # One slice stands for all of them: only the one at its index is drawn.
    return render_overlay_png(
        CtVolume(geometry, np.broadcast_to(hu, geometry.shape)),
        LabelMap(geometry, np.broadcast_to(labels, geometry.shape)),
        slice_index,
    )


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _FIRST_ZIP_DATE), content)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Return a grey PNG; each row is the difference to the one above, deflated by runs.

    Pillow tries five filters for every row: as large a picture, in two and a half times the time.
    A search for longer matches than runs finds none in noise, and takes as long again.
    Source: ISO/IEC 15948 (PNG), chunks of section 11, filter type 2 ("Up") of section 9.
    """
    rows, columns = pixels.shape
    filtered = np.empty((rows, columns + 1), dtype=np.uint8)
    filtered[:, 0] = _PNG_FILTER_UP
    filtered[0, 1:] = pixels[0]
    np.subtract(pixels[1:], pixels[:-1], out=filtered[1:, 1:])
    deflate = zlib.compressobj(level=1, strategy=zlib.Z_RLE)
    content = deflate.compress(filtered.data) + deflate.flush()
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    return _PNG_SIGNATURE + b"".join(
        _png_chunk(kind, data)
        for kind, data in ((b"IHDR", header), (b"IDAT", content), (b"IEND", b""))
    )


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _pixels(content: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(BytesIO(content)), dtype=np.uint8)
