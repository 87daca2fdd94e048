"""Groups of scans in which the figures are given again: how scanned, how noisy, how large, how ill.

What a header or the image says comes first, so that patients and phantoms are grouped alike; what
only a simulated scan knows of itself (motion, size, kernel) is taken from the attributes of its
case, whose names are those of the settings of :mod:`calcium_scoring.phantom.settings` behind
``patient.`` or ``scan.``. Bounds are our choice.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from calcium_scoring.dicom.select_series import is_sharp_kernel
from calcium_scoring.scoring.categories import RISK_CATEGORIES
from model_training.evaluation.case_figures import CaseFigures

NOT_KNOWN: Final = "not known"

SHARP_EDGE_ENHANCEMENT: Final = 0.0
"""Simulated kernels above it enhance edges, as lung kernels do."""

SOFT_PSF_SIGMA_MM: Final = 0.6
"""Simulated kernels at or above it blur more than the middle of the range."""


@dataclass(frozen=True)
class Stratum:
    """A way to group scans: its name, its groups in order, and which group a scan is in."""

    name: str
    groups: tuple[str, ...]
    group_of: Callable[[CaseFigures], str]


def grouped(cases: Sequence[CaseFigures], stratum: Stratum) -> dict[str, list[CaseFigures]]:
    """Return the scans of each group that has any, in the order of the stratum."""
    groups: dict[str, list[CaseFigures]] = {name: [] for name in (*stratum.groups, NOT_KNOWN)}
    for case in cases:
        groups[stratum.group_of(case)].append(case)
    return {name: members for name, members in groups.items() if members}


def _binned(
    name: str, bounds: Sequence[float], unit: str, value_of: Callable[[CaseFigures], float | None]
) -> Stratum:
    """Return a stratum of a number; an upper bound belongs to the lower group."""
    ends = [f"{bound:g}" for bound in bounds]
    groups = (
        f"up to {ends[0]} {unit}".strip(),
        *(f"{low} to {high} {unit}".strip() for low, high in pairwise(ends)),
        f"above {ends[-1]} {unit}".strip(),
    )

    def group_of(case: CaseFigures) -> str:
        value = value_of(case)
        # A margin far below any setting: 2.5 mm between positions comes out as 2.5000001.
        return NOT_KNOWN if value is None else groups[bisect_right(bounds, value - 1e-3)]

    return Stratum(name, groups, group_of)


def _number(name: str) -> Callable[[CaseFigures], float | None]:
    def value_of(case: CaseFigures) -> float | None:
        value = case.attributes.get(name)
        return float(value) if isinstance(value, int | float) else None

    return value_of


def _text(name: str, groups: Sequence[str]) -> Callable[[CaseFigures], str]:
    def group_of(case: CaseFigures) -> str:
        value = case.attributes.get(name)
        return value if isinstance(value, str) and value in groups else NOT_KNOWN

    return group_of


def _gating(case: CaseFigures) -> str:
    return {True: "gated", False: "not gated", None: NOT_KNOWN}[case.is_ecg_gated]


def _kernel(case: CaseFigures) -> str:
    enhancement = _number("scan.edge_enhancement")(case)
    psf_sigma_mm = _number("scan.psf_sigma_mm")(case)
    if enhancement is not None and psf_sigma_mm is not None:
        if enhancement > SHARP_EDGE_ENHANCEMENT:
            return "sharp"
        return "soft" if psf_sigma_mm >= SOFT_PSF_SIGMA_MM else "medium"
    if not case.convolution_kernel:
        return NOT_KNOWN
    return "sharp" if is_sharp_kernel(case.convolution_kernel) else "not sharp by its name"


def _overlap(case: CaseFigures) -> str:
    if case.slice_thickness_mm is None:
        return NOT_KNOWN
    # As in the warning of serving: a tenth of a millimetre is rounding.
    overlaps = case.slice_thickness_mm > case.spacing_between_slices_mm + 0.1
    return "overlapping" if overlaps else "not overlapping"


STRATA: Final[tuple[Stratum, ...]] = (
    Stratum("gating", ("gated", "not gated"), _gating),
    _binned(
        "spacing between slices", (1.25, 2.0, 3.0), "mm", lambda one: one.spacing_between_slices_mm
    ),
    _binned("slice thickness", (1.5, 2.5, 3.0), "mm", lambda one: one.slice_thickness_mm),
    Stratum("overlap of slices", ("not overlapping", "overlapping"), _overlap),
    Stratum("kernel", ("soft", "medium", "sharp", "not sharp by its name"), _kernel),
    _binned("tube voltage", (100.0, 120.0), "kV", lambda one: one.kvp),
    _binned("noise, measured", (15.0, 25.0), "HU", lambda one: one.noise_sd_hu),
    _binned("motion of the heart", (1.0, 3.0), "mm", _number("scan.motion_mm")),
    _binned("size of the body (1: average man)", (0.92, 1.0), "", _number("patient.body_scale")),
    _binned("fat under the skin", (10.0, 20.0), "mm", _number("patient.subcutaneous_fat_mm")),
    Stratum("sex", ("female", "male"), _text("patient.sex", ("female", "male"))),
    Stratum("burden", RISK_CATEGORIES, lambda one: one.reference_risk_category),
)
