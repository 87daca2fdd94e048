"""Groups of scans."""

from __future__ import annotations

import pytest

from model_training.evaluation.strata import NOT_KNOWN, STRATA, Stratum, grouped
from tests.unit.model_training.evaluation.scans import figures


def stratum(name: str) -> Stratum:
    (found,) = [one for one in STRATA if one.name == name]
    return found


@pytest.mark.parametrize(
    ("spacing_mm", "group"),
    [
        (0.7, "up to 1.25 mm"),
        (1.25, "up to 1.25 mm"),
        (2.5000001, "2 to 3 mm"),
        (3.0, "2 to 3 mm"),
        (5.0, "above 3 mm"),
    ],
)
def test_upper_bound_belongs_to_the_lower_group(spacing_mm: float, group: str) -> None:
    case = figures(0.0, 0.0, spacing_between_slices_mm=spacing_mm)

    assert stratum("spacing between slices").group_of(case) == group


@pytest.mark.parametrize(
    ("attributes", "kernel", "group"),
    [
        ({"scan.edge_enhancement": 0.3, "scan.psf_sigma_mm": 0.45}, ("B35f",), "sharp"),
        ({"scan.edge_enhancement": 0.0, "scan.psf_sigma_mm": 0.45}, (), "medium"),
        ({"scan.edge_enhancement": 0.0, "scan.psf_sigma_mm": 0.7}, (), "soft"),
        ({}, ("B70f",), "sharp"),
        ({}, ("B35f",), "not sharp by its name"),
        ({}, (), NOT_KNOWN),
    ],
)
def test_kernel_is_grouped_by_its_settings_or_its_name(
    attributes: dict[str, float], kernel: tuple[str, ...], group: str
) -> None:
    case = figures(0.0, 0.0, attributes=attributes, convolution_kernel=kernel)

    assert stratum("kernel").group_of(case) == group


def test_overlapping_slices_are_thicker_than_they_are_apart() -> None:
    overlapping = figures(0.0, 0.0, spacing_between_slices_mm=1.5, slice_thickness_mm=3.0)
    contiguous = figures(0.0, 0.0, spacing_between_slices_mm=2.95, slice_thickness_mm=3.0)

    groups = [stratum("overlap of slices").group_of(case) for case in (overlapping, contiguous)]

    assert groups == ["overlapping", "not overlapping"]


def test_groups_come_in_the_order_of_the_stratum_and_only_where_there_are_scans() -> None:
    cases = [figures(500.0, 0.0), figures(0.0, 0.0), figures(5.0, 0.0), figures(7.0, 0.0)]

    groups = grouped(cases, stratum("burden"))

    assert {name: len(members) for name, members in groups.items()} == {
        "0": 1,
        "1-10": 2,
        ">400": 1,
    }
    assert list(groups) == ["0", "1-10", ">400"]


def test_scan_that_says_nothing_is_in_no_known_group() -> None:
    case = figures(0.0, 0.0, is_ecg_gated=None, slice_thickness_mm=None, kvp=None, noise_sd_hu=None)

    groups = {one.name: one.group_of(case) for one in STRATA}

    assert set(groups.values()) == {NOT_KNOWN, "2 to 3 mm", "0"}
