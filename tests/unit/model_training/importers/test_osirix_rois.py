"""Regions drawn in OsiriX: how they are read, filled and checked."""

from __future__ import annotations

import plistlib
from pathlib import Path

import numpy as np
import pytest

from model_training.importers.osirix_rois import Roi, UnreadableRois, fit_roi, read_osirix_rois
from tests.unit.model_training.importers.coca_files import LAD, roi, square, write_rois


def test_point_is_x_then_y_and_becomes_row_and_column(tmp_path: Path) -> None:
    drawn = roi(f" {LAD} ", ["(30.5, 20.25)", "(37, 20)", "(37, 27)"], pixels=3, mean=400.0)
    (region,) = read_osirix_rois(write_rois(tmp_path / "0.xml", {4: [drawn]}))

    assert region.image_index == 4
    assert region.name == LAD
    assert region.points[0] == (20.25, 30.5)
    assert region.pixel_count == 3


def test_region_holds_the_pixels_on_its_outline() -> None:
    hu = np.arange(2 * 10 * 10, dtype=np.float32).reshape(2, 10, 10)
    # Rows 2 to 4, columns 5 to 8 of slice 1: 12 pixels.
    region = Roi(1, 0, LAD, ((2.0, 5.0), (2.0, 8.0), (4.0, 8.0), (4.0, 5.0)), None, None)

    fit = fit_roi(region, hu)

    expected = np.zeros((10, 10), dtype=bool)
    expected[2:5, 5:9] = True
    assert np.array_equal(fit.mask, expected)
    assert fit.pixel_count == 12
    assert fit.total_hu == float(hu[1, 2:5, 5:9].sum())


def test_pixel_is_inside_by_its_centre_without_half_a_pixel_offset() -> None:
    hu = np.zeros((1, 6, 6), dtype=np.float32)
    # A diamond around (2, 2) that reaches 1.4 pixels: the centre and its four neighbours.
    corners = ((0.6, 2.0), (2.0, 3.4), (3.4, 2.0), (2.0, 0.6))

    fit = fit_roi(Roi(0, 0, LAD, corners, None, None), hu)

    assert sorted(zip(*np.nonzero(fit.mask), strict=True)) == [
        (1, 2),
        (2, 1),
        (2, 2),
        (2, 3),
        (3, 2),
    ]


@pytest.mark.parametrize(
    ("mean", "total", "is_reproduced"),
    [(400.0, 4800.0, True), (400.0, 4800.4, True), (400.0, 5200.0, False), (300.0, 4800.0, False)],
)
def test_region_is_checked_against_its_own_total_and_mean(
    mean: float, total: float, is_reproduced: bool
) -> None:
    hu = np.full((1, 10, 10), 400.0, dtype=np.float32)
    corners = ((2.0, 5.0), (2.0, 8.0), (4.0, 8.0), (4.0, 5.0))

    assert fit_roi(Roi(0, 0, LAD, corners, mean, total), hu).is_reproduced is is_reproduced


def test_region_without_measurements_cannot_be_checked() -> None:
    corners = ((0.0, 0.0), (0.0, 2.0), (2.0, 2.0))
    fit = fit_roi(Roi(0, 0, LAD, corners, 0.0, 0.0), np.ones((1, 4, 4), dtype=np.float32))

    assert not fit.can_be_checked
    assert not fit.is_reproduced


def test_region_may_leave_the_slice_but_not_the_series() -> None:
    hu = np.ones((2, 4, 4), dtype=np.float32)
    corners = ((-3.0, -3.0), (-3.0, 1.0), (1.0, 1.0), (1.0, -3.0))

    assert fit_roi(Roi(0, 0, LAD, corners, None, None), hu).pixel_count == 4
    for index in (-1, 2):
        with pytest.raises(IndexError, match="not among the 2 slices"):
            fit_roi(Roi(index, 0, LAD, corners, None, None), hu)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<plist><dict>",
        b'<?xml version="1.0"?><plist version="1.0"><array/></plist>',
        plistlib.dumps({"Images": [{"ImageIndex": 1}]}),
        plistlib.dumps({"Images": [{"ImageIndex": 1, "ROIs": [{"Name": "LAD"}]}]}),
        plistlib.dumps({"Images": [{"ImageIndex": "one", "ROIs": [roi(LAD, [])]}]}),
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><plist version="1.0"><dict/></plist>',
    ],
)
def test_file_that_is_no_list_of_regions_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "0.xml"
    path.write_bytes(content)

    with pytest.raises(UnreadableRois, match=r"0\.xml is no OsiriX list of regions"):
        read_osirix_rois(path)


@pytest.mark.parametrize("point", ["(1)", "(1, 2, 3)", "(a, b)", "(nan, 1)"])
def test_point_that_is_no_pair_of_numbers_is_refused(tmp_path: Path, point: str) -> None:
    path = write_rois(tmp_path / "0.xml", {0: [roi(LAD, [*square(0, 0, 3, 3), point])]})

    with pytest.raises(UnreadableRois):
        read_osirix_rois(path)
