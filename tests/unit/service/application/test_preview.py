"""Slices drawn from the preview are those drawn from the volume."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.random import default_rng
from PIL import Image

from calcium_scoring.rendering import render_overlay_png
from service.application.preview import render_slice, write_preview
from tests.builders import plaque_phantom


def test_slice_is_the_same_pixel_by_pixel(tmp_path: Path) -> None:
    volume, label_map = plaque_phantom()
    noisy = volume.hu + default_rng(1).normal(0.0, 150.0, volume.hu.shape).astype(np.float32)
    volume = replace(volume, hu=noisy)
    write_preview(volume, label_map, tmp_path / "preview.zip")
    for index in range(6):
        with (tmp_path / "preview.zip").open("rb") as stream:
            served = render_slice(stream, index)
        drawn = render_overlay_png(volume, label_map, index)
        np.testing.assert_array_equal(_pixels(served), _pixels(drawn))


def test_preview_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    volume, label_map = plaque_phantom()
    for name in ("a", "b"):
        write_preview(volume, label_map, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_there_is_no_slice_beyond_the_last(tmp_path: Path) -> None:
    volume, label_map = plaque_phantom()
    write_preview(volume, label_map, tmp_path / "preview.zip")
    for index in (-1, 6):
        with (
            (tmp_path / "preview.zip").open("rb") as stream,
            pytest.raises(IndexError, match="0 to 5"),
        ):
            render_slice(stream, index)


def _pixels(png: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(BytesIO(png)))
