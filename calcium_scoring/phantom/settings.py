"""What is varied between phantom patients and between their scans, and how it is drawn.

Ranges are our choice, set by looking at non-contrast chest and cardiac CT of adults.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np

from calcium_scoring.scoring.categories import RISK_CATEGORIES

Sex = Literal["female", "male"]
ScanKind = Literal["gated", "chest"]

BURDEN_RANGES: Final[dict[str, tuple[float, float]]] = {
    "0": (0.0, 0.0),
    "1-10": (2.0, 9.0),
    "11-100": (13.0, 90.0),
    "101-400": (120.0, 370.0),
    ">400": (450.0, 2500.0),
}
"""Agatston scores aimed at in each risk category; away from the bounds, since a scan adds noise."""


@dataclass(frozen=True)
class PatientSettings:
    """A patient; lengths in mm, angles in degrees, of an adult of ``body_scale`` 1."""

    sex: Sex = "male"
    body_scale: float = 1.0
    chest_depth_scale: float = 1.0
    subcutaneous_fat_mm: float = 14.0
    muscle_mm: float = 14.0
    roll_deg: float = 0.0
    arms_down: bool = False
    heart_scale: float = 1.0
    heart_azimuth_deg: float = 0.0
    heart_elevation_deg: float = 0.0
    heart_shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    epicardial_fat_mm: float = 3.5
    paracardial_fat_mm: float = 3.0
    """Fat outside the pericardial sac."""
    belly_mm: float = 8.0
    """How much fat within the abdomen pushes its wall out."""
    dome_mm: float = -14.0
    """Height of the right dome of the diaphragm: high after breathing out."""
    apex_mm: float = 136.0
    """Height of the tops of the lungs."""
    is_prone: bool = False
    aorta_scale: float = 1.0
    blood_hu: float = 42.0
    muscle_hu: float = 54.0
    lung_hu: float = -860.0
    bone_scale: float = 1.0
    """Factor on the attenuation of cortex and spongy bone."""
    burden_category: str = "11-100"
    """Target risk category, met by a noise-free 3 mm reference scan."""
    confuser_rate: float = 1.0
    """Factor on how often and how much calcium lies outside the coronary arteries."""
    has_metal: bool = False

    def __post_init__(self) -> None:
        if self.burden_category not in BURDEN_RANGES:
            raise ValueError(
                f"Burden category {self.burden_category!r} is unknown; "
                f"one of {', '.join(BURDEN_RANGES)} is accepted."
            )


@dataclass(frozen=True)
class ScanSettings:
    """An axial scan.

    ``psf_sigma_mm`` is the standard deviation of the Gaussian in-plane point spread;
    ``edge_enhancement`` above 0 sharpens it as a lung kernel does. ``motion_mm`` is how far the
    heart moves in the plane while a slice is acquired; ``streak_share`` is the strength of the
    horizontal streaks of a low dose: more of it makes the noise less even. ``iterative_share`` (0
    to 1) takes fine noise away as iterative reconstruction does; ``hardening_strength`` multiplies
    the usual beam hardening; ``padding_hu`` fills what lies outside the field of view.
    ``z_centre_mm`` is the middle of the scan above the aortic valve.
    """

    kind: ScanKind = "chest"
    matrix_size: int = 512
    pixel_spacing_mm: float = 0.7
    spacing_between_slices_mm: float = 2.5
    slice_thickness_mm: float = 2.5
    z_extent_mm: float = 160.0
    z_centre_mm: float = -3.0
    kvp: float = 120.0
    noise_sd_hu: float = 18.0
    psf_sigma_mm: float = 0.55
    edge_enhancement: float = 0.0
    streak_share: float = 0.0
    iterative_share: float = 0.0
    hardening_strength: float = 1.0
    padding_hu: float = -1024.0
    motion_mm: float = 0.0
    centre_shift_mm: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        lengths = (
            self.pixel_spacing_mm,
            self.spacing_between_slices_mm,
            self.slice_thickness_mm,
            self.psf_sigma_mm,
        )
        if min(lengths) <= 0.0 or self.matrix_size < 16:
            raise ValueError(
                "Pixel and slice spacing, slice thickness and point spread must be above 0 mm and "
                f"the matrix at least 16: {lengths}, {self.matrix_size}."
            )
        if self.z_extent_mm < self.spacing_between_slices_mm:
            raise ValueError(
                f"A scan of {self.z_extent_mm} mm holds no slice; at least "
                f"{self.spacing_between_slices_mm} mm is needed."
            )
        if self.noise_sd_hu < 0.0 or self.motion_mm < 0.0:
            raise ValueError(
                f"Noise ({self.noise_sd_hu} HU) and motion ({self.motion_mm} mm) "
                "cannot be negative."
            )

    @property
    def slice_count(self) -> int:
        """Number of slices that fit into the extent."""
        return int(self.z_extent_mm / self.spacing_between_slices_mm + 1e-6)

    @property
    def field_of_view_mm(self) -> float:
        """Diameter of the circle that the scanner reconstructs."""
        return self.matrix_size * self.pixel_spacing_mm


def sample_patient(seed: int, **overrides: Any) -> PatientSettings:  # noqa: ANN401 - any field
    """Draw a patient; ``overrides`` are fields of :class:`PatientSettings`."""
    rng = np.random.default_rng([seed, 1])
    sex: Sex = "male" if rng.random() < 0.55 else "female"
    scale = rng.normal(1.0 if sex == "male" else 0.92, 0.05)
    # One draw of how fat a patient is moves all fat; each depot then has its own share.
    adiposity = float(np.clip(rng.gamma(2.2, 0.5), 0.12, 4.0))
    dome_mm = float(np.clip(rng.normal(-12.0, 14.0), -45.0, 30.0))
    roll_deg = float(rng.normal(0.0, 3.0) if rng.random() < 0.85 else rng.normal(0.0, 7.0))
    drawn = PatientSettings(
        sex=sex,
        body_scale=float(np.clip(scale, 0.82, 1.14)),
        chest_depth_scale=float(rng.uniform(0.86, 1.16)),
        subcutaneous_fat_mm=float(np.clip(14.0 * adiposity * rng.lognormal(0.0, 0.3), 2.5, 60.0)),
        muscle_mm=float(rng.uniform(7.0, 20.0)),
        roll_deg=float(np.clip(roll_deg, -22.0, 22.0)),
        arms_down=bool(rng.random() < 0.15),
        heart_scale=float(np.clip(rng.lognormal(0.05, 0.11), 0.85, 1.45)),
        heart_azimuth_deg=float(rng.normal(0.0, 11.0)),
        heart_elevation_deg=float(rng.normal(0.15 * (dome_mm + 12.0), 9.0)),
        heart_shift_mm=(
            float(rng.normal(0.0, 6.0)),
            float(rng.normal(0.0, 3.5)),
            float(rng.normal(0.2 * (dome_mm + 12.0), 6.0)),
        ),
        epicardial_fat_mm=float(np.clip(3.2 * adiposity**0.6 * rng.lognormal(0.0, 0.5), 0.3, 12.0)),
        paracardial_fat_mm=float(np.clip(3.0 * adiposity * rng.lognormal(0.0, 0.6), 0.3, 25.0)),
        belly_mm=float(np.clip(12.0 * adiposity * rng.lognormal(0.0, 0.5), 0.0, 70.0)),
        dome_mm=dome_mm,
        apex_mm=float(rng.normal(135.0, 7.0)),
        is_prone=bool(rng.random() < 0.03),
        aorta_scale=float(np.clip(rng.lognormal(0.0, 0.12), 0.75, 1.5)),
        blood_hu=float(np.clip(rng.normal(43.0, 5.5), 26.0, 60.0)),
        muscle_hu=float(np.clip(rng.normal(52.0, 5.0), 36.0, 66.0)),
        lung_hu=float(rng.uniform(-905.0, -740.0)),
        bone_scale=float(rng.uniform(0.65, 1.25)),
        burden_category=str(rng.choice(RISK_CATEGORIES, p=[0.2, 0.15, 0.25, 0.2, 0.2])),
        confuser_rate=float(rng.choice([0.0, 0.5, 1.0, 2.0], p=[0.15, 0.3, 0.35, 0.2])),
        has_metal=bool(rng.random() < 0.22),
    )
    return replace(drawn, **overrides)


LARGEST_SLICE_COUNT: Final = 150
"""Keeps a simulated scan within what a training case should hold. Our choice."""
_HEART_MIDDLE_MM: Final = -10.0
"""Middle of the heart above the aortic valve."""


def sample_scan(seed: int, **overrides: Any) -> ScanSettings:  # noqa: ANN401 - any field
    """Draw a scan; ``overrides`` are fields of :class:`ScanSettings`.

    A smaller ``matrix_size`` keeps the field of view: pixels become larger.
    """
    rng = np.random.default_rng([seed, 2])
    kind: ScanKind = "gated" if rng.random() < 0.4 else "chest"
    kind = overrides.get("kind", kind)
    matrix_size = int(overrides.get("matrix_size", 512))
    noise_sd_hu = float(np.clip(rng.lognormal(np.log(17.0), 0.38), 8.0, 40.0))
    if kind == "gated":
        spacing, thickness = _GATED_SLICES[int(rng.choice(len(_GATED_SLICES), p=_GATED_ODDS))]
        extent = min(float(rng.uniform(115.0, 160.0)), LARGEST_SLICE_COUNT * spacing)
        drawn = ScanSettings(
            kind="gated",
            matrix_size=matrix_size,
            pixel_spacing_mm=float(rng.uniform(180.0, 260.0)) / matrix_size,
            spacing_between_slices_mm=spacing,
            slice_thickness_mm=thickness,
            z_extent_mm=extent,
            z_centre_mm=float(rng.uniform(-14.0, 6.0)),
            noise_sd_hu=noise_sd_hu,
            psf_sigma_mm=float(rng.uniform(0.4, 0.68)),
            motion_mm=float(max(0.0, rng.normal(0.0, 0.8))),
            centre_shift_mm=(float(rng.normal(0.0, 8.0)), float(rng.normal(0.0, 8.0))),
        )
        return replace(drawn, **{**_sample_physics(seed), **overrides})
    spacing = float(rng.choice(_CHEST_SPACINGS_MM, p=_CHEST_SPACING_ODDS))
    thickness = spacing
    if rng.random() < 0.3:
        thickness = float(
            np.clip(spacing * rng.choice([1.25, 1.5, 2.0]), spacing, max(5.0, spacing))
        )
    extent, centre = _chest_range(spacing, rng)
    is_sharp = rng.random() < 0.25
    drawn = ScanSettings(
        kind="chest",
        matrix_size=matrix_size,
        pixel_spacing_mm=float(rng.uniform(0.58, 0.95)) * 512.0 / matrix_size,
        spacing_between_slices_mm=spacing,
        slice_thickness_mm=thickness,
        z_extent_mm=extent,
        z_centre_mm=centre,
        noise_sd_hu=noise_sd_hu * (1.25 if is_sharp else 1.0),
        psf_sigma_mm=float(rng.uniform(0.4, 0.5) if is_sharp else rng.uniform(0.5, 0.8)),
        edge_enhancement=float(rng.uniform(0.15, 0.5)) if is_sharp else 0.0,
        motion_mm=float(min(8.0, rng.gamma(2.0, 1.3))),
        streak_share=float(max(0.0, rng.uniform(-0.6, 1.0))),
        centre_shift_mm=(float(rng.normal(0.0, 12.0)), float(rng.normal(0.0, 12.0))),
    )
    return replace(drawn, **{**_sample_physics(seed), **overrides})


_GATED_SLICES: Final = ((3.0, 3.0), (2.5, 2.5), (1.5, 3.0), (1.0, 1.0), (2.0, 2.0), (1.25, 2.5))
"""Spacing and thickness in mm."""
_GATED_ODDS: Final = (0.45, 0.3, 0.1, 0.05, 0.05, 0.05)
_CHEST_SPACINGS_MM: Final = (0.6, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)
_CHEST_SPACING_ODDS: Final = (0.04, 0.05, 0.11, 0.12, 0.06, 0.12, 0.14, 0.11, 0.05, 0.2)


def _chest_range(spacing: float, rng: np.random.Generator) -> tuple[float, float]:
    """Return extent and middle of a chest scan: the whole chest, or what holds the heart."""
    longest = LARGEST_SLICE_COUNT * spacing
    if rng.random() < 0.6 and longest > 240.0:
        extent = min(float(rng.uniform(260.0, 340.0)), longest)
        return extent, float(rng.uniform(-15.0, 30.0))
    extent = min(float(rng.uniform(120.0, 200.0)), longest)
    # Up to a quarter of the heart, about 110 mm, may lie outside.
    slack = max(12.0, 0.5 * (extent - 60.0))
    slack = min(slack, 45.0)
    return extent, _HEART_MIDDLE_MM + float(rng.uniform(-slack, slack))


_VOLTAGES_KV: Final = (80.0, 100.0, 120.0, 130.0, 140.0)
_VOLTAGE_ODDS: Final = (0.03, 0.1, 0.75, 0.05, 0.07)
_PADDINGS_HU: Final = (-1024.0, -2000.0, -2048.0, -3024.0)


def _sample_physics(seed: int) -> dict[str, Any]:
    """Draw what the tube and the reconstruction do: mostly 120 kVp, seldom iterative."""
    rng = np.random.default_rng([seed, 4])
    return {
        "kvp": float(rng.choice(_VOLTAGES_KV, p=_VOLTAGE_ODDS)),
        "iterative_share": float(rng.uniform(0.2, 1.0)) if rng.random() < 0.3 else 0.0,
        "hardening_strength": float(rng.lognormal(0.0, 0.4)),
        "padding_hu": float(rng.choice(_PADDINGS_HU, p=[0.7, 0.1, 0.1, 0.1])),
    }
