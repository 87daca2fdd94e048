"""Attenuation and texture of one patient's tissues at 120 kVp; ranges are our choice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tissues:
    """Attenuations in HU; the others say how uneven a tissue is or how thick a layer."""

    fat: float
    skin: float
    vessel_wall: float
    oesophagus: float
    cartilage: float
    disc: float
    cortex: float
    spongy: float
    canal: float
    node: float
    fat_strands: float
    """HU by which septa stand out from fat."""
    muscle_fat: float
    """Share of muscle that is streaked with fat, 0 to about 0.4."""
    unevenness: float
    """HU of slow variation of soft tissue."""
    trabeculae: float
    """HU of the grain of spongy bone."""
    cortex_mm: float
    skin_mm: float
    pericardium_mm: float
    gland_share: float
    """Share of the breast that is glandular."""
    lung_grain: float
    lung_slope: float
    """HU by which the lowest lung is denser than its middle."""
    emphysema: float
    """0 for none; 1 leaves little of the upper lobes."""
    effusion_mm: tuple[float, float]
    """Depth of fluid in the right and left pleural space."""


def sample_tissues(rng: np.random.Generator, *, bone_scale: float) -> Tissues:
    """Draw the tissues of a patient; bones are denser by ``bone_scale``."""
    has_effusion = rng.random(2) < 0.06
    effusion = np.where(has_effusion, rng.uniform(5.0, 45.0, size=2), 0.0).tolist()
    return Tissues(
        fat=float(rng.normal(-102.0, 6.0)),
        skin=float(rng.uniform(-10.0, 40.0)),
        vessel_wall=float(rng.uniform(40.0, 55.0)),
        oesophagus=float(rng.uniform(28.0, 48.0)),
        cartilage=float(rng.normal(108.0, 17.0)),
        disc=float(rng.normal(85.0, 12.0)),
        cortex=float(rng.uniform(480.0, 1100.0)) * bone_scale,
        spongy=float(np.clip(rng.normal(165.0, 60.0), 50.0, 340.0)) * bone_scale,
        canal=float(rng.uniform(15.0, 35.0)),
        node=float(rng.uniform(25.0, 50.0)),
        fat_strands=float(rng.uniform(10.0, 70.0)),
        muscle_fat=float(rng.beta(1.2, 4.0)),
        unevenness=float(rng.uniform(1.5, 5.0)),
        trabeculae=float(rng.uniform(20.0, 75.0)),
        cortex_mm=float(rng.uniform(0.4, 1.4)),
        skin_mm=float(rng.uniform(1.2, 2.6)),
        pericardium_mm=float(np.clip(rng.lognormal(np.log(0.4), 0.4), 0.15, 1.1)),
        gland_share=float(rng.beta(1.1, 2.2)),
        lung_grain=float(rng.uniform(1.0, 11.0)),
        lung_slope=float(rng.uniform(15.0, 75.0)),
        emphysema=float(rng.uniform(0.2, 1.0)) if rng.random() < 0.2 else 0.0,
        effusion_mm=(effusion[0], effusion[1]),
    )
