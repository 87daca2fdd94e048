"""Calcified plaque on the coronary arteries of a phantom, up to a target Agatston score.

How plaque is distributed over the arteries and along them is our choice after its usual order:
LAD most often, then RCA, LCX and LM; the proximal half more than the distal.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from calcium_scoring.phantom.acquisition import Scanner
from calcium_scoring.phantom.coronaries import STEP_MM, CoronaryBranch, CoronaryTree
from calcium_scoring.phantom.deposits import Deposit, image_of
from calcium_scoring.phantom.settings import BURDEN_RANGES, ScanSettings
from calcium_scoring.phantom.shapes import frame_along
from calcium_scoring.scoring.agatston import REFERENCE_SPACING_MM
from calcium_scoring.scoring.protocol import LITERATURE

TISSUE_HU: Final = 45.0
"""Attenuation of vessel wall and blood, to which a deposit adds."""

_BRANCH_ODDS: Final = {
    "LM": 0.07, "LAD": 0.42, "LCX": 0.15, "RCA": 0.25,
    "D1": 0.05, "D2": 0.02, "OM1": 0.03, "AM": 0.01,
}  # fmt: skip
_SHAPES: Final = {
    "speck": ((0.9, 1.6), (0.8, 1.3), 0.8),
    "crescent": ((1.3, 1.7), (1.7, 2.1), 0.75),
    "chain": ((1.4, 2.6), (0.9, 1.5), 0.8),
}
"""Radii in mm, before size: range along the vessel, range round it, outwards."""
_REFERENCE_SCAN: Final = ScanSettings(
    kind="gated",
    matrix_size=64,
    pixel_spacing_mm=0.45,
    spacing_between_slices_mm=3.0,
    slice_thickness_mm=3.0,
    z_extent_mm=36.0,
    noise_sd_hu=0.0,
    psf_sigma_mm=0.55,
)
_MAX_PLAQUES: Final = 160
_MAX_FAINT: Final = 3


def reference_agatston_score(deposit: Deposit) -> float:
    """Return the score of a deposit alone in a noise-free 3 mm scan of a standard kernel."""
    x, y, z = deposit.centre_lps_mm
    scanner = Scanner(_REFERENCE_SCAN, (x, y, z), np.zeros((_REFERENCE_SCAN.slice_count, 2)))
    image = image_of(deposit, scanner)
    if image is None:
        return 0.0
    hu = image.excess_hu + TISSUE_HU
    area_mm2 = scanner.geometry.pixel_area_mm2
    score = 0.0
    for one_slice in hu:
        calcium = one_slice >= LITERATURE.threshold_hu
        if calcium.sum() < LITERATURE.min_lesion_pixels(area_mm2):
            continue
        weight = sum(one_slice.max() >= bound for bound in LITERATURE.density_weight_bounds_hu)
        score += float(calcium.sum()) * area_mm2 * weight
    return score * scanner.geometry.spacing_between_slices_mm / REFERENCE_SPACING_MM


def sample_plaques(
    tree: CoronaryTree, *, burden_category: str, body_scale: float, rng: np.random.Generator
) -> tuple[Deposit, ...]:
    """Return deposits whose reference scores sum to a target within the risk category."""
    low, high = BURDEN_RANGES[burden_category]
    if high == 0.0:
        return ()
    target = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    diseased = _diseased_branches(tree, target, rng)
    odds = np.array([_BRANCH_ODDS[branch.name] for branch in diseased])
    deposits: list[Deposit] = []
    total, faint = 0.0, 0
    for _ in range(_MAX_PLAQUES):
        branch = diseased[int(rng.choice(len(diseased), p=odds / odds.sum()))]
        plaque = _sample_plaque(branch, body_scale, target, rng)
        scores = [reference_agatston_score(deposit) for deposit in plaque]
        for deposit, score in zip(plaque, scores, strict=True):
            if score == 0.0:
                # A few specks stay too faint for the reference scan; more would add up.
                faint += 1
                if faint > _MAX_FAINT:
                    continue
            fitted, fitted_score = deposit, score
            while total + fitted_score > 1.05 * target and fitted_score > 0.0:
                fitted = fitted.resized(0.85)
                fitted_score = reference_agatston_score(fitted)
            if fitted_score == 0.0 and score > 0.0:
                continue
            deposits.append(fitted)
            total += fitted_score
        if total >= 0.9 * target:
            break
    return tuple(deposits)


def _diseased_branches(
    tree: CoronaryTree, target: float, rng: np.random.Generator
) -> list[CoronaryBranch]:
    """Return the branches that hold calcium: one or two in a mild disease, most in a severe one."""
    odds = np.array([_BRANCH_ODDS[branch.name] for branch in tree.branches])
    count = int(np.clip(rng.poisson(0.6 + 0.8 * np.log10(1.0 + target)) + 1, 1, len(odds)))
    chosen = rng.choice(len(odds), size=count, replace=False, p=odds / odds.sum())
    return [tree.branches[index] for index in sorted(chosen)]


def _sample_plaque(
    branch: CoronaryBranch, body_scale: float, target: float, rng: np.random.Generator
) -> list[Deposit]:
    """Return one plaque: a speck, a crescent, or a chain of deposits along the wall."""
    last = len(branch.lumen.points) - 2
    start = int(np.clip(rng.beta(1.15, 2.3) * last, 1, last))
    severity = float(np.clip(np.log10(1.0 + target) / 3.0, 0.2, 1.1))
    kind = str(
        rng.choice(
            list(_SHAPES),
            p=np.array([1.1 - 0.6 * severity, 0.35, 0.15 + 0.5 * severity])
            / (1.6 - 0.1 * severity),
        )
    )
    count = int(rng.integers(2, 7)) if kind == "chain" else 1
    angle = float(rng.uniform(0.0, 2.0 * np.pi))
    excess_hu = float(np.clip(rng.lognormal(np.log(560.0 + 260.0 * severity), 0.45), 180.0, 1700.0))
    size = float(rng.lognormal(0.0, 0.3)) * (0.75 + 0.45 * severity)
    deposits = []
    position = float(start)
    for _ in range(count):
        index = round(position)
        if index > last:
            break
        (low, high), (narrow, wide), outwards = _SHAPES[kind]
        radii_mm = (
            float(rng.uniform(low, high)) * size,
            float(rng.uniform(narrow, wide)) * size,
            outwards * size,
        )
        deposits.append(
            _on_wall(
                branch,
                body_scale=body_scale,
                index=index,
                angle=angle,
                radii_mm=radii_mm,
                excess_hu=excess_hu * float(rng.uniform(0.75, 1.25)),
            )
        )
        position += 1.9 * radii_mm[0] / (STEP_MM * body_scale) * rng.uniform(0.9, 1.3)
        angle += float(rng.normal(0.0, 0.5))
    return deposits


def _on_wall(
    branch: CoronaryBranch,
    *,
    body_scale: float,
    index: int,
    angle: float,
    radii_mm: tuple[float, float, float],
    excess_hu: float,
) -> Deposit:
    """Return a deposit in the vessel wall, cut to what the vessel can hold."""
    points = branch.lumen.points * body_scale
    along, first, second = frame_along(points[index + 1] - points[index - 1])
    outwards = np.cos(angle) * first + np.sin(angle) * second
    wall = max(0.75 * float(branch.lumen.radii[index]) * body_scale, 0.6)
    outward_radius = min(radii_mm[2], 0.9 * wall + 0.3)
    x, y, z = (points[index] + wall * outwards).tolist()
    return Deposit(
        owner=branch.artery,
        centre_lps_mm=(x, y, z),
        frame=np.stack([along, np.cross(outwards, along), outwards]),
        radii_mm=(radii_mm[0], min(radii_mm[1], 2.6 * wall), outward_radius),
        excess_hu=excess_hu,
        bend_radius_mm=max(wall, outward_radius),
    )
