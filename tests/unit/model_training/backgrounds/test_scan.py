"""A scan meets its marks: the same series, the marked slices, a grid that the scanner knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calcium_scoring.dicom.write_series import write_ct_series
from calcium_scoring.phantom.structures import Structure
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from model_training.backgrounds.marks import ScanMarks, read_marks
from model_training.backgrounds.scan import background_of, load_background
from tests.unit.model_training.backgrounds.straight_artery import body, write_marks


def test_slices_that_are_not_marked_are_cut_off(tmp_path: Path) -> None:
    heart = [{"z_mm": z, "outline_mm": [[-9, -9], [0, -9], [9, -9], [9, 9], [0, 9], [-9, 9]]}
             for z in (10.0, 40.0)]  # fmt: skip
    marks = read_marks(write_marks(tmp_path, z_range_mm=[10.0, 40.0], heart=heart))

    background = background_of(marks, body())

    # Slices at 10.0, 12.5 ... 40.0 mm.
    assert background.volume.geometry.shape[0] == 13
    assert background.volume.geometry.position_lps_mm((0, 0, 0))[2] == pytest.approx(10.0)


def test_scan_that_does_not_reach_over_the_marked_range_is_refused(marks: ScanMarks) -> None:
    whole = body()
    box = (slice(0, 10), slice(None), slice(None))
    part = CtVolume(whole.geometry.cropped(box), whole.hu[box].copy())

    with pytest.raises(ValueError, match=r"its slices reach from 0\.0 to 22\.5 mm"):
        background_of(marks, part)


def test_calcium_that_the_scan_itself_shows_is_labelled_within_its_ball(tmp_path: Path) -> None:
    spot = {"structure": "AORTIC_WALL_CALCIUM", "centre_mm": [-15.5, 0.5, 25.0], "radius_mm": 4.0}
    marks = read_marks(write_marks(tmp_path, dense_spots=[spot]))
    hu = body().hu.copy()
    hu[10, 32, 16] = hu[10, 32, 40] = 300.0

    background = background_of(marks, CtVolume(body().geometry, hu))

    # Pixel (32, 16) lies at x = -15.5, y = 0.5 mm; pixel (32, 40) is 24 mm from the spot.
    assert background.structures[10, 32, 16] == Structure.AORTIC_WALL_CALCIUM
    assert (background.structures > 0).sum() == 1


def test_oblong_pixels_are_refused(marks: ScanMarks) -> None:
    geometry = VolumeGeometry.axial((24, 64, 64), (2.5, 1.0, 1.1), (-34.0, -31.5, 0.0))
    volume = CtVolume(geometry, np.zeros(geometry.shape, dtype=np.float32))

    with pytest.raises(ValueError, match="square pixels"):
        background_of(marks, volume).scanner()


def test_scan_that_is_not_there_is_named_with_its_source(marks: ScanMarks, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nobody of none \(doi none\)"):
        load_background(marks, tmp_path / "nowhere")


def test_another_series_than_the_marked_one_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    write_ct_series(body(), folder, seed=1)
    source = {
        "file": "other", "series_instance_uid": "1.2.3", "collection": "none",
        "subject": "nobody", "licence": "CC0", "doi": "none", "attribution": "nobody",
    }  # fmt: skip
    marks = read_marks(write_marks(tmp_path, source=source))

    with pytest.raises(ValueError, match=r"but straight was marked on 1\.2\.3"):
        load_background(marks, tmp_path)
