"""Where deposits lie: in the wall of a tube, free, or in clusters."""

from __future__ import annotations

import numpy as np

from calcium_scoring.phantom.deposits import Deposit
from calcium_scoring.phantom.shapes import Tube, Vectors, frame_along
from calcium_scoring.phantom.structures import Structure
from calcium_scoring.volume.label_map import Artery

HIGHEST_ODDS = 0.95


def chance(rng: np.random.Generator, odds: float, rate: float) -> bool:
    """Draw whether something is there; ``rate`` multiplies the odds of a usual patient."""
    return bool(rng.random() < min(HIGHEST_ODDS, odds * rate))


def in_wall(
    tube: Tube,
    index: int,
    angle: float,
    *,
    body_scale: float,
    radii_mm: tuple[float, float, float],
    excess_hu: float,
    owner: Artery | Structure,
    rng: np.random.Generator,
    depth_mm: float = 0.0,
) -> Deposit:
    """Return a deposit in the wall of a tube, bent round it, ``depth_mm`` below its place there."""
    along, first, second = frame_along(tube.points[index + 1] - tube.points[index - 1])
    outwards = np.cos(angle) * first + np.sin(angle) * second
    radius = float(tube.radii[index]) * body_scale - 0.5 * radii_mm[2] - depth_mm
    radius = max(radius, 0.1)
    x, y, z = (tube.points[index] * body_scale + radius * outwards).tolist()
    bend_mm = max(radius, radii_mm[2])
    return Deposit(
        owner=owner,
        centre_lps_mm=(x, y, z),
        frame=np.stack([along, np.cross(outwards, along), outwards]),
        radii_mm=(radii_mm[0], min(radii_mm[1], 2.6 * bend_mm), radii_mm[2]),
        excess_hu=excess_hu,
        bend_radius_mm=bend_mm,
        roughness=float(rng.uniform(0.1, 0.7)),
        texture_seed=int(rng.integers(2**31)),
    )


def along_wall(
    tube: Tube,
    index: int,
    angle: float,
    *,
    size: float,
    excess_hu: float,
    owner: Artery | Structure,
    body_scale: float,
    rng: np.random.Generator,
) -> list[Deposit]:
    """Return a fleck, a plate, or a band of plates in the wall of a wide tube, from a place on."""
    count = 1 if rng.random() < 0.75 else int(rng.integers(2, 7))
    direction = 1 if rng.random() < 0.5 else -1
    deposits = []
    for number in range(count):
        here = index + direction * number
        if not 1 <= here < len(tube.points) - 1:
            break
        radii_mm = (
            1.5 * size * float(rng.uniform(0.6, 2.0)),
            1.5 * size * float(rng.uniform(0.6, 2.8)),
            float(np.clip(0.7 * size * rng.uniform(0.7, 1.4), 0.4, 1.8)),
        )
        deposits.append(
            in_wall(
                tube,
                here,
                angle,
                body_scale=body_scale,
                radii_mm=radii_mm,
                excess_hu=excess_hu * float(rng.uniform(0.7, 1.3)),
                owner=owner,
                rng=rng,
            )
        )
        angle += float(rng.normal(0.0, 0.25))
    return deposits


def free(
    centre_mm: Vectors,
    radii_mm: tuple[float, float, float],
    excess_hu: float,
    owner: Artery | Structure,
    rng: np.random.Generator,
    *,
    roughness: float | None = None,
) -> Deposit:
    """Return a deposit of any direction."""
    x, y, z = centre_mm.tolist()
    return Deposit(
        owner,
        (x, y, z),
        frame_along(rng.normal(size=3)),
        radii_mm,
        excess_hu,
        roughness=float(rng.uniform(0.1, 0.7)) if roughness is None else roughness,
        texture_seed=int(rng.integers(2**31)),
    )


def cluster(
    centre_mm: Vectors,
    *,
    count: int,
    spread_mm: float,
    size_mm: float,
    excess_hu: float,
    owner: Artery | Structure,
    rng: np.random.Generator,
) -> list[Deposit]:
    """Return deposits of different size and density around a point."""
    deposits = []
    for _ in range(count):
        size = size_mm * float(rng.lognormal(0.0, 0.35))
        offset = rng.normal(0.0, spread_mm, size=3) if count > 1 else np.zeros(3)
        radii = (size * float(rng.uniform(0.9, 1.4)), size, size * float(rng.uniform(0.6, 1.0)))
        deposits.append(
            free(centre_mm + offset, radii, excess_hu * float(rng.uniform(0.6, 1.4)), owner, rng)
        )
    return deposits
