"""Calcified plaque on the coronary arteries of a phantom, up to a target Agatston score.

How plaque is distributed over the arteries and along them is our choice after its usual order:
LAD most often, then RCA, LCX and LM; the proximal half more than the distal. Sizes were set so
that lesions in a 2.5 mm chest scan spread like those of expert masks (``docs/experiments.md``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calcium_scoring.phantom.acquisition import Scanner
from calcium_scoring.phantom.coronaries import STEP_MM, CoronaryBranch, CoronaryTree
from calcium_scoring.phantom.deposits import Deposit, DepositImage, image_of
from calcium_scoring.phantom.settings import BURDEN_RANGES, ScanSettings
from calcium_scoring.phantom.shapes import Vectors, frame_along
from calcium_scoring.scoring.agatston import REFERENCE_SPACING_MM
from calcium_scoring.scoring.protocol import LITERATURE

TISSUE_HU: Final = 45.0
"""Attenuation of vessel wall and blood, to which a deposit adds."""

_BRANCH_ODDS: Final = {
    "LM": 0.07, "LAD": 0.42, "LCX": 0.15, "RCA": 0.25,
    "D1": 0.05, "D2": 0.02, "OM1": 0.03, "AM": 0.01,
}  # fmt: skip
_OTHER_BRANCH_ODDS: Final = 0.01
_REFERENCE_PIXEL_MM: Final = 0.45
_REFERENCE_MARGIN_MM: Final = 12.0
_MAX_PLAQUES: Final = 160
_MAX_FAINT: Final = 4
_SMALLEST_STEP: Final = 2.5
"""What one more lesion adds at least, about: the smallest target is met to this."""
_SHRINKAGE: Final = 0.82
_MAX_SHRINKINGS: Final = 12


@dataclass(frozen=True)
class _Grain:
    """One deposit of a plaque: where along and round the vessel, radii in mm, relative density."""

    along_mm: float
    angle: float
    radii_mm: tuple[float, float, float]
    density: float = 1.0
    depth: float = 0.75
    """Distance from the centre line, in radii of the lumen."""


_Growth: TypeAlias = Callable[[np.random.Generator, float], list[_Grain]]


def reference_agatston_score(deposits: Sequence[Deposit]) -> float:
    """Return the score of deposits in a noise-free 3 mm scan of a standard kernel.

    Slices and pixels lie on one fixed grid, so that lesions apart from each other add up.
    """
    if not deposits:
        return 0.0
    scan = _ReferenceScan(np.array([deposit.centre_lps_mm for deposit in deposits]))
    return scan.total_with(scan.images(deposits))


def sample_plaques(
    tree: CoronaryTree, *, burden_category: str, body_scale: float, rng: np.random.Generator
) -> tuple[Deposit, ...]:
    """Return deposits whose reference score is a target within the risk category."""
    low, high = BURDEN_RANGES[burden_category]
    if high == 0.0:
        return ()
    target = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    diseased = _diseased_branches(tree, target, rng)
    odds = np.array([_odds_of(branch) for branch in diseased])
    scan = _ReferenceScan(
        np.concatenate([branch.lumen.points * body_scale for branch in tree.branches])
    )
    limit = max(1.05 * target, min(high, target + _SMALLEST_STEP))
    deposits: list[Deposit] = []
    faint = 0
    for number in range(1, _MAX_PLAQUES + 1):
        branch = diseased[int(rng.choice(len(diseased), p=odds / odds.sum()))]
        plaque = _sample_plaque(branch, number, body_scale, target, rng)
        images = scan.images(plaque)
        total = scan.total_with(images)
        for _ in range(_MAX_SHRINKINGS):
            if total <= limit:
                break
            # What is too much loses its end or becomes smaller.
            if len(plaque) > 1:
                plaque = plaque[: ceil(0.6 * len(plaque))]
            else:
                plaque = [deposit.resized(_SHRINKAGE) for deposit in plaque]
            images = scan.images(plaque)
            total = scan.total_with(images)
        if total > limit:
            continue
        if total <= scan.total:
            # A few specks stay too faint for the reference scan; more would add up.
            faint += 1
            if faint > _MAX_FAINT:
                continue
        deposits += plaque
        scan.add(images)
        if total >= 0.9 * target:
            break
    return tuple(deposits)


def mass_by_plaque(deposits: Sequence[Deposit]) -> dict[int, float]:
    """Return the mass of hydroxyapatite in mg of each plaque, by its number."""
    masses: dict[int, float] = {}
    for deposit in deposits:
        masses[deposit.plaque] = masses.get(deposit.plaque, 0.0) + deposit.mass_mg
    return masses


class _ReferenceScan:
    """A noise-free 3 mm scan around points, to which deposits are added."""

    def __init__(self, points_lps_mm: Vectors) -> None:
        pixel, spacing = _REFERENCE_PIXEL_MM, REFERENCE_SPACING_MM
        low, high = points_lps_mm.min(axis=0), points_lps_mm.max(axis=0)
        unit = np.array([pixel, pixel, spacing])
        # An odd count about a multiple of the unit: every reference scan has the same grid.
        x, y, z = (np.rint(0.5 * (low + high) / unit) * unit).tolist()
        reach = 0.5 * (high - low) + _REFERENCE_MARGIN_MM
        size = 2 * ceil(float(max(reach[:2])) / pixel) + 1
        count = 2 * ceil(float(reach[2]) / spacing) + 1
        settings = ScanSettings(
            kind="gated",
            matrix_size=size,
            pixel_spacing_mm=pixel,
            spacing_between_slices_mm=spacing,
            slice_thickness_mm=spacing,
            z_extent_mm=count * spacing,
            noise_sd_hu=0.0,
            psf_sigma_mm=0.55,
        )
        self._scanner = Scanner(settings, (x, y, z))
        self._hu: NDArray[np.float32] = np.full((count, size, size), TISSUE_HU, dtype=np.float32)
        self._scores = np.zeros(count)

    @property
    def total(self) -> float:
        """Agatston score of what was added."""
        return float(self._scores.sum())

    def images(self, deposits: Sequence[Deposit]) -> list[DepositImage]:
        """Return the images of deposits in this scan."""
        images = (image_of(deposit, self._scanner) for deposit in deposits)
        return [image for image in images if image is not None]

    def total_with(self, images: Sequence[DepositImage]) -> float:
        """Return the score with images that are not added yet."""
        scores = self._scores.copy()
        for index in _slices_of(images):
            scores[index] = self._slice_score(self._with(images, index))
        return float(scores.sum())

    def add(self, images: Sequence[DepositImage]) -> None:
        """Add images for good."""
        for index in _slices_of(images):
            self._hu[index] = self._with(images, index)
            self._scores[index] = self._slice_score(self._hu[index])

    def _with(self, images: Sequence[DepositImage], index: int) -> NDArray[np.float32]:
        hu: NDArray[np.float32] = self._hu[index].copy()
        for image in images:
            slab = image.slab(index)
            if slab is not None:
                hu[slab[0]] += slab[1]
        return hu

    def _slice_score(self, hu: NDArray[np.float32]) -> float:
        area_mm2 = self._scanner.geometry.pixel_area_mm2
        calcium = hu >= LITERATURE.threshold_hu
        if not calcium.any():
            return 0.0
        lesions, count = ndimage.label(calcium, structure=np.ones((3, 3)))
        pixels = np.bincount(lesions.ravel())[1:]
        peaks = np.asarray(ndimage.maximum(hu, lesions, np.arange(1, count + 1)))
        weights = np.searchsorted(LITERATURE.density_weight_bounds_hu, peaks, side="right")
        pixels = np.where(pixels >= LITERATURE.min_lesion_pixels(area_mm2), pixels, 0)
        return float((pixels * weights).sum()) * area_mm2


def _slices_of(images: Sequence[DepositImage]) -> list[int]:
    touched: set[int] = set()
    for image in images:
        touched.update(range(image.corner[0], image.corner[0] + image.excess_hu.shape[0]))
    return sorted(touched)


def _odds_of(branch: CoronaryBranch) -> float:
    return _BRANCH_ODDS.get(branch.name, _OTHER_BRANCH_ODDS)


def _diseased_branches(
    tree: CoronaryTree, target: float, rng: np.random.Generator
) -> list[CoronaryBranch]:
    """Return the branches that hold calcium: one or two in a mild disease, most in a severe one."""
    odds = np.array([_odds_of(branch) for branch in tree.branches])
    count = int(np.clip(rng.poisson(0.6 + 0.8 * np.log10(1.0 + target)) + 1, 1, len(odds)))
    chosen = rng.choice(len(odds), size=count, replace=False, p=odds / odds.sum())
    return [tree.branches[index] for index in sorted(chosen)]


def _sample_plaque(
    branch: CoronaryBranch, number: int, body_scale: float, target: float, rng: np.random.Generator
) -> list[Deposit]:
    """Return one plaque: its shape, then its density and where on the branch it lies."""
    severity = float(np.clip(np.log10(1.0 + target) / 3.0, 0.15, 1.1))
    growths, odds = zip(*_growths(severity), strict=True)
    shares = np.array(odds)
    growth = growths[int(rng.choice(len(growths), p=shares / shares.sum()))]
    size = float(rng.lognormal(0.0, 0.36)) * (0.58 + 0.36 * severity)
    grains = growth(rng, size)
    length = (len(branch.lumen.points) - 1) * STEP_MM * body_scale
    start = float(rng.beta(1.15, 2.3)) * length
    # From faint to dense: 135 to far above 1,200 HU in the scan, by size and blur.
    excess_hu = float(np.clip(rng.lognormal(np.log(430.0 + 230.0 * severity), 0.6), 130.0, 2400.0))
    roughness = float(rng.uniform(0.15, 0.75))
    turn = float(rng.uniform(0.0, 2.0 * np.pi))
    deposits = []
    for grain in grains:
        position = start + grain.along_mm
        if not 0.0 <= position <= length - STEP_MM * body_scale:
            continue
        deposit = _on_wall(
            branch,
            replace(grain, angle=grain.angle + turn),
            position=position / (STEP_MM * body_scale),
            body_scale=body_scale,
            excess_hu=excess_hu,
        )
        deposits.append(
            replace(
                deposit,
                roughness=roughness,
                texture_seed=int(rng.integers(2**31)),
                plaque=number,
            )
        )
    return deposits


def _growths(severity: float) -> tuple[tuple[_Growth, float], ...]:
    """Return the shapes of plaque and how often each is drawn."""
    return (
        (_speck, 1.3 - 0.6 * severity),
        (_spot, 0.5),
        (_crescent, 0.3),
        (_elongated, 0.2 + 0.45 * severity),
        (_diffuse, 0.25 * severity**2),
        (_nodular, 0.15 + 0.25 * severity),
    )


def _radii(
    rng: np.random.Generator,
    size: float,
    along: tuple[float, float],
    around: tuple[float, float],
    outwards: tuple[float, float],
) -> tuple[float, float, float]:
    a, b, c = (size * float(rng.uniform(*bounds)) for bounds in (along, around, outwards))
    return max(a, 0.35), max(b, 0.35), max(c, 0.3)


def _speck(rng: np.random.Generator, size: float) -> list[_Grain]:
    radii = _radii(rng, size, (0.5, 1.1), (0.5, 1.0), (0.45, 0.8))
    return [_Grain(0.0, 0.0, radii, depth=float(rng.uniform(0.4, 1.0)))]


def _spot(rng: np.random.Generator, size: float) -> list[_Grain]:
    return [_Grain(0.0, 0.0, _radii(rng, size, (0.9, 1.9), (0.9, 1.5), (0.7, 1.2)))]


def _crescent(rng: np.random.Generator, size: float) -> list[_Grain]:
    return [_Grain(0.0, 0.0, _radii(rng, size, (1.0, 2.4), (1.7, 3.0), (0.55, 0.9)))]


def _track(
    rng: np.random.Generator, size: float, *, length_mm: float, angle: float, gaps: float
) -> list[_Grain]:
    """Return a band along the wall whose width and density wander."""
    grains: list[_Grain] = []
    along, width, density = 0.0, 1.0, 1.0
    while along < length_mm:
        angle += float(rng.normal(0.0, 0.12))
        width = float(np.clip(width * rng.lognormal(0.0, 0.25), 0.55, 1.6))
        density = float(np.clip(density * rng.lognormal(0.0, 0.25), 0.4, 1.8))
        radii = _radii(rng, size * width, (1.2, 1.8), (0.55, 1.1), (0.45, 0.75))
        if rng.random() >= gaps:
            grains.append(_Grain(along, angle, radii, density))
        along += radii[0] * float(rng.uniform(0.9, 1.2))
    return grains


def _elongated(rng: np.random.Generator, size: float) -> list[_Grain]:
    length = float(rng.uniform(4.0, 14.0))
    return _track(rng, size, length_mm=length, angle=0.0, gaps=0.08)


def _diffuse(rng: np.random.Generator, size: float) -> list[_Grain]:
    """Return tracks on opposite walls, as of tram rails, seldom all round."""
    length = float(rng.uniform(10.0, 40.0))
    count = int(rng.choice([2, 3, 4], p=[0.7, 0.2, 0.1]))
    grains: list[_Grain] = []
    for track in range(count):
        angle = 2.0 * np.pi * track / count + float(rng.normal(0.0, 0.3))
        gaps = float(rng.uniform(0.05, 0.4))
        grains += _track(rng, 0.85 * size, length_mm=length, angle=angle, gaps=gaps)
    return sorted(grains, key=lambda grain: grain.along_mm)


def _nodular(rng: np.random.Generator, size: float) -> list[_Grain]:
    """Return lumps of different size and density, close together."""
    spread = float(rng.uniform(1.0, 4.5))
    focus = float(rng.uniform(0.4, 2.0))
    return [
        _Grain(
            float(rng.normal(0.0, spread)),
            float(rng.normal(0.0, focus)),
            _radii(rng, size * float(rng.lognormal(0.0, 0.3)), (0.6, 1.4), (0.6, 1.4), (0.5, 1.1)),
            float(rng.lognormal(0.0, 0.35)),
            depth=float(rng.uniform(0.3, 1.1)),
        )
        for _ in range(int(rng.integers(3, 15)))
    ]


def _on_wall(
    branch: CoronaryBranch,
    grain: _Grain,
    *,
    position: float,
    body_scale: float,
    excess_hu: float,
) -> Deposit:
    """Return a deposit in the vessel wall, cut to what the vessel can hold."""
    points = branch.lumen.points * body_scale
    index = int(np.clip(round(position), 1, len(points) - 2))
    lower = min(int(position), len(points) - 2)
    centre = points[lower] + (position - lower) * (points[lower + 1] - points[lower])
    along, first, second = frame_along(points[index + 1] - points[index - 1])
    outwards = np.cos(grain.angle) * first + np.sin(grain.angle) * second
    wall = max(grain.depth * float(branch.lumen.radii[index]) * body_scale, 0.5)
    outward_radius = min(grain.radii_mm[2], 0.9 * wall + 0.4)
    x, y, z = (centre + wall * outwards).tolist()
    return Deposit(
        owner=branch.artery,
        centre_lps_mm=(x, y, z),
        frame=np.stack([along, np.cross(outwards, along), outwards]),
        radii_mm=(grain.radii_mm[0], min(grain.radii_mm[1], 2.6 * wall), outward_radius),
        excess_hu=float(np.clip(excess_hu * grain.density, 130.0, 2800.0)),
        bend_radius_mm=max(wall, outward_radius),
    )
