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
    """An axial scan at 120 kVp.

    ``psf_sigma_mm`` is the standard deviation of the Gaussian in-plane point spread;
    ``edge_enhancement`` above 0 sharpens it as a lung kernel does. ``motion_mm`` is how far the
    heart moves in the plane while a slice is acquired; ``streak_share`` is the strength of the
    horizontal streaks of a low dose, relative to other noise. ``z_centre_mm`` is the middle of the
    scan above the aortic valve.
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
    scale = rng.normal(1.0 if sex == "male" else 0.92, 0.045)
    drawn = PatientSettings(
        sex=sex,
        body_scale=float(np.clip(scale, 0.84, 1.12)),
        chest_depth_scale=float(rng.uniform(0.92, 1.12)),
        subcutaneous_fat_mm=float(np.clip(rng.gamma(3.0, 5.5), 4.0, 45.0)),
        muscle_mm=float(rng.uniform(9.0, 18.0)),
        roll_deg=float(rng.normal(0.0, 2.5)),
        arms_down=bool(rng.random() < 0.12),
        heart_scale=float(np.clip(rng.normal(1.0, 0.07), 0.85, 1.2)),
        heart_azimuth_deg=float(rng.normal(0.0, 8.0)),
        heart_elevation_deg=float(rng.normal(0.0, 8.0)),
        heart_shift_mm=(
            float(rng.normal(0.0, 4.0)),
            float(rng.normal(0.0, 2.5)),
            float(rng.normal(0.0, 4.0)),
        ),
        epicardial_fat_mm=float(np.clip(rng.gamma(4.0, 0.9), 1.0, 9.0)),
        aorta_scale=float(np.clip(rng.normal(1.0, 0.1), 0.8, 1.3)),
        blood_hu=float(rng.normal(44.0, 4.0)),
        muscle_hu=float(rng.normal(52.0, 3.0)),
        lung_hu=float(rng.uniform(-895.0, -790.0)),
        bone_scale=float(rng.uniform(0.65, 1.2)),
        burden_category=str(rng.choice(RISK_CATEGORIES, p=[0.2, 0.15, 0.25, 0.2, 0.2])),
        confuser_rate=float(rng.choice([0.0, 0.5, 1.0, 2.0], p=[0.15, 0.3, 0.35, 0.2])),
        has_metal=bool(rng.random() < 0.06),
    )
    return replace(drawn, **overrides)


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
        spacing = float(rng.choice([2.5, 3.0]))
        drawn = ScanSettings(
            kind="gated",
            matrix_size=matrix_size,
            pixel_spacing_mm=float(rng.uniform(200.0, 250.0)) / matrix_size,
            spacing_between_slices_mm=spacing,
            slice_thickness_mm=spacing,
            z_extent_mm=float(rng.uniform(125.0, 150.0)),
            z_centre_mm=float(rng.uniform(-8.0, 4.0)),
            noise_sd_hu=noise_sd_hu,
            psf_sigma_mm=float(rng.uniform(0.42, 0.65)),
            motion_mm=float(max(0.0, rng.normal(0.0, 0.8))),
            centre_shift_mm=(float(rng.normal(0.0, 6.0)), float(rng.normal(0.0, 6.0))),
        )
        return replace(drawn, **overrides)
    spacing = float(rng.choice([0.7, 1.0, 1.25, 2.0, 2.5, 3.0, 5.0], p=_CHEST_SPACING_ODDS))
    thickness = spacing if rng.random() < 0.7 else min(5.0, spacing * float(rng.choice([1.5, 2.0])))
    is_sharp = rng.random() < 0.25
    drawn = ScanSettings(
        kind="chest",
        matrix_size=matrix_size,
        pixel_spacing_mm=float(rng.uniform(0.62, 0.9)) * 512.0 / matrix_size,
        spacing_between_slices_mm=spacing,
        slice_thickness_mm=max(thickness, 1.0),
        z_extent_mm=float(rng.uniform(140.0, 180.0)),
        z_centre_mm=float(rng.uniform(-10.0, 8.0)),
        noise_sd_hu=noise_sd_hu * (1.25 if is_sharp else 1.0),
        psf_sigma_mm=float(rng.uniform(0.4, 0.5) if is_sharp else rng.uniform(0.5, 0.8)),
        edge_enhancement=float(rng.uniform(0.15, 0.5)) if is_sharp else 0.0,
        motion_mm=float(min(8.0, rng.gamma(2.0, 1.3))),
        streak_share=float(max(0.0, rng.uniform(-0.6, 1.0))),
        centre_shift_mm=(float(rng.normal(0.0, 8.0)), float(rng.normal(0.0, 10.0))),
    )
    return replace(drawn, **overrides)


_CHEST_SPACING_ODDS: Final = (0.05, 0.12, 0.18, 0.1, 0.25, 0.15, 0.15)
