"""Calcium and cartilage outside the coronary arteries, which a network must leave alone.

Frequencies and sizes are our choice.
"""

from __future__ import annotations

import numpy as np

from calcium_scoring.phantom.anatomy import Anatomy
from calcium_scoring.phantom.deposits import Deposit
from calcium_scoring.phantom.shapes import Tube, Vectors, frame_along
from calcium_scoring.phantom.structures import Structure

_AORTA_ODDS = {"root": 0.3, "arch": 0.65, "descending": 0.6}


def sample_confusers(
    anatomy: Anatomy, *, body_scale: float, streams: list[np.random.SeedSequence]
) -> tuple[Deposit, ...]:
    """Return deposits in aorta, valves, nodes and cartilage; each kind has its own stream."""
    rate = anatomy.settings.confuser_rate
    makers = (
        _aortic_wall, _aortic_valve, _mitral_annulus, _nodes, _airway_cartilage, _costal_cartilage,
    )  # fmt: skip
    deposits: list[Deposit] = []
    for maker, stream in zip(makers, streams, strict=True):
        rng = np.random.default_rng(stream)
        deposits += maker(anatomy, body_scale, rate, rng)
    return tuple(deposits)


def _chance(rng: np.random.Generator, odds: float, rate: float) -> bool:
    return bool(rng.random() < min(0.95, odds * rate))


def _in_wall(
    tube: Tube,
    index: int,
    angle: float,
    *,
    body_scale: float,
    radii_mm: tuple[float, float, float],
    excess_hu: float,
    owner: Structure,
) -> Deposit:
    """Return a deposit in the wall of a tube, bent round it."""
    along, first, second = frame_along(tube.points[index + 1] - tube.points[index - 1])
    outwards = np.cos(angle) * first + np.sin(angle) * second
    radius = float(tube.radii[index]) * body_scale - 0.5 * radii_mm[2]
    x, y, z = (tube.points[index] * body_scale + radius * outwards).tolist()
    return Deposit(
        owner=owner,
        centre_lps_mm=(x, y, z),
        frame=np.stack([along, np.cross(outwards, along), outwards]),
        radii_mm=radii_mm,
        excess_hu=excess_hu,
        bend_radius_mm=max(radius, radii_mm[2]),
    )


def _aortic_wall(
    anatomy: Anatomy, body_scale: float, rate: float, rng: np.random.Generator
) -> list[Deposit]:
    aorta = anatomy.aorta
    count = len(aorta.points)
    heights = aorta.points[:, 2]
    top = int(heights.argmax())
    indices = np.arange(1, count - 1)
    parts = {
        "root": indices[(indices < top) & (heights[indices] < 40.0)],
        "arch": indices[heights[indices] > 60.0],
        "descending": indices[(indices > top) & (heights[indices] <= 60.0)],
    }
    deposits = []
    for part, odds in _AORTA_ODDS.items():
        if not _chance(rng, odds, rate):
            continue
        for _ in range(int(rng.integers(1, 4 if part == "root" else 12))):
            size = float(rng.lognormal(0.2, 0.5))
            radii_mm = (
                1.4 * size * float(rng.uniform(0.6, 1.8)),
                1.4 * size * float(rng.uniform(0.6, 2.5)),
                float(np.clip(0.7 * size, 0.5, 1.6)),
            )
            deposits.append(
                _in_wall(
                    aorta,
                    int(rng.choice(parts[part])),
                    float(rng.uniform(0.0, 2.0 * np.pi)),
                    body_scale=body_scale,
                    radii_mm=radii_mm,
                    excess_hu=float(np.clip(rng.lognormal(np.log(600.0), 0.4), 200.0, 1500.0)),
                    owner=Structure.AORTIC_WALL_CALCIUM,
                )
            )
    return deposits


def _aortic_valve(
    anatomy: Anatomy, body_scale: float, rate: float, rng: np.random.Generator
) -> list[Deposit]:
    if not _chance(rng, 0.3, rate):
        return []
    deposits = []
    for _ in range(int(rng.geometric(0.25))):
        angle, distance = rng.uniform(0.0, 2.0 * np.pi), 9.0 * np.sqrt(rng.random())
        offset = np.array(
            [distance * np.cos(angle), distance * np.sin(angle), rng.normal(0.0, 2.5)]
        )
        size = float(rng.lognormal(0.1, 0.4))
        deposits.append(
            _free(
                (anatomy.aortic_valve + offset) * body_scale,
                (1.8 * size, 1.1 * size, 0.7 * size),
                float(np.clip(rng.lognormal(np.log(520.0), 0.4), 180.0, 1300.0)),
                Structure.AORTIC_VALVE_CALCIUM,
                rng,
            )
        )
    return deposits


def _mitral_annulus(
    anatomy: Anatomy, body_scale: float, rate: float, rng: np.random.Generator
) -> list[Deposit]:
    if not _chance(rng, 0.18, rate):
        return []
    centre, normal = anatomy.mitral_annulus
    _, first, second = frame_along(normal)
    posterior = np.arctan2(second @ [0.3, 0.8, -0.5], first @ [0.3, 0.8, -0.5])
    radius = 16.5 * anatomy.settings.heart_scale
    span = float(rng.uniform(0.15, 2.6))
    deposits = []
    middle = posterior + rng.normal(0.0, 0.4)
    for angle in np.arange(-0.5 * span, 0.5 * span + 0.01, 0.16):
        if rng.random() < 0.25:
            continue
        outwards = np.cos(middle + angle) * first + np.sin(middle + angle) * second
        size = float(rng.lognormal(0.2, 0.35))
        deposits.append(
            _free(
                (centre + radius * outwards + rng.normal(0.0, 0.7, size=3)) * body_scale,
                (1.8 * size, 1.4 * size, 1.1 * size),
                float(np.clip(rng.lognormal(np.log(650.0), 0.4), 200.0, 1600.0)),
                Structure.MITRAL_ANNULUS_CALCIUM,
                rng,
            )
        )
    return deposits


_NODE_SITES = (
    (-40.0, -34.0, 22.0), (-46.0, -24.0, 4.0), (2.0, -26.0, 44.0), (-18.0, -46.0, 58.0),
    (24.0, -36.0, 64.0), (52.0, -26.0, 26.0), (56.0, -16.0, 2.0),
)  # fmt: skip


def _nodes(
    anatomy: Anatomy, body_scale: float, rate: float, rng: np.random.Generator
) -> list[Deposit]:
    if not _chance(rng, 0.35, rate):
        return []
    deposits = []
    for _ in range(int(rng.integers(1, 4))):
        site = np.array(_NODE_SITES[int(rng.integers(len(_NODE_SITES)))]) @ anatomy.roll.T
        site = site + rng.normal(0.0, 3.0, size=3)
        for _ in range(int(rng.integers(1, 8))):
            size = float(rng.lognormal(0.2, 0.45))
            deposits.append(
                _free(
                    (site + rng.normal(0.0, 3.0, size=3)) * body_scale,
                    (1.4 * size, 1.2 * size, 1.0 * size),
                    float(np.clip(rng.lognormal(np.log(700.0), 0.5), 150.0, 1900.0)),
                    Structure.NODE_CALCIUM,
                    rng,
                )
            )
    return deposits


def _airway_cartilage(
    anatomy: Anatomy, body_scale: float, rate: float, rng: np.random.Generator
) -> list[Deposit]:
    if not _chance(rng, 0.5, rate):
        return []
    deposits = []
    for airway in anatomy.airways[:5]:
        for index in range(1, len(airway.points) - 1, 2):
            if rng.random() < 0.6:
                continue
            deposits.append(
                _in_wall(
                    airway,
                    index,
                    float(rng.uniform(0.0, 2.0 * np.pi)),
                    body_scale=body_scale,
                    radii_mm=(float(rng.uniform(0.8, 1.6)), float(rng.uniform(1.5, 5.0)), 0.6),
                    excess_hu=float(rng.uniform(120.0, 420.0)),
                    owner=Structure.BRONCHIAL_CARTILAGE,
                )
            )
    return deposits


def _costal_cartilage(
    anatomy: Anatomy, body_scale: float, rate: float, rng: np.random.Generator
) -> list[Deposit]:
    share = float(np.clip(rng.beta(1.2, 2.5) * rate, 0.0, 0.9))
    deposits = []
    for cartilage in anatomy.skeleton.costal_cartilages:
        for index in range(1, len(cartilage.points) - 1):
            for _ in range(2):
                if rng.random() > share:
                    continue
                size = float(rng.lognormal(0.25, 0.4))
                deposits.append(
                    _in_wall(
                        cartilage,
                        index,
                        float(rng.uniform(0.0, 2.0 * np.pi)),
                        body_scale=body_scale,
                        radii_mm=(1.5 * size, 1.3 * size, min(0.9 * size, 2.0)),
                        excess_hu=float(rng.uniform(150.0, 700.0)),
                        owner=Structure.COSTAL_CARTILAGE_CALCIUM,
                    )
                )
    return deposits


def _free(
    centre: Vectors,
    radii_mm: tuple[float, float, float],
    excess_hu: float,
    owner: Structure,
    rng: np.random.Generator,
) -> Deposit:
    x, y, z = centre.tolist()
    return Deposit(owner, (x, y, z), frame_along(rng.normal(size=3)), radii_mm, excess_hu)
