"""Calcium and cartilage outside the coronary arteries, which a network must leave alone.

Frequencies and sizes are our choice: about as often as in people past sixty, more with age, and
each kind often enough to be learnt from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import numpy as np

from calcium_scoring.phantom.anatomy import Anatomy
from calcium_scoring.phantom.deposits import Deposit
from calcium_scoring.phantom.organ_calcium import sample_enteric_content, sample_organ_calcium
from calcium_scoring.phantom.placing import along_wall, chance, cluster, free, in_wall
from calcium_scoring.phantom.settings import BURDEN_RANGES
from calcium_scoring.phantom.shapes import Tube, frame_along
from calcium_scoring.phantom.structures import Structure
from calcium_scoring.phantom.vessel_calcium import sample_vessel_calcium

Maker: TypeAlias = Callable[[Anatomy, float, float, np.random.Generator], list[Deposit]]
"""From anatomy, body scale and rate to deposits."""

_BURDEN_FACTOR: Final = dict(zip(BURDEN_RANGES, (0.6, 0.8, 1.0, 1.2, 1.4), strict=True))
"""Who has coronary calcium is likely to have it elsewhere."""
_AORTIC_PARTS: Final = {
    # part: odds, most lesions
    "root": (0.3, 4),
    "ascending": (0.2, 5),
    "arch": (0.6, 14),
    "descending": (0.5, 14),
    "abdominal": (0.55, 24),
}


def sample_confusers(
    anatomy: Anatomy, *, body_scale: float, streams: Sequence[np.random.SeedSequence]
) -> tuple[Deposit, ...]:
    """Return deposits everywhere but in coronary arteries; each kind has its own stream.

    Parameters
    ----------
    anatomy
        Its settings say how much there is.
    body_scale
        From the frame of the anatomy to mm.
    streams
        ``CONFUSER_KINDS`` of them.
    """
    settings = anatomy.settings
    rate = settings.confuser_rate * _BURDEN_FACTOR[settings.burden_category]
    deposits: list[Deposit] = []
    for maker, stream in zip(_MAKERS, streams, strict=True):
        rng = np.random.default_rng(stream)
        deposits += maker(anatomy, body_scale, rate, rng)
    return tuple(deposits)


def _aortic_wall(
    anatomy: Anatomy, body_scale: float, rate: float, rng: np.random.Generator
) -> list[Deposit]:
    aorta = anatomy.aorta
    heights = aorta.points[:, 2]
    top = int(heights.argmax())
    indices = np.arange(1, len(aorta.points) - 1)
    rising, falling = indices[indices < top], indices[indices >= top]
    parts = {
        "root": rising[heights[rising] < 24.0],
        "ascending": rising[(heights[rising] >= 20.0) & (heights[rising] < 66.0)],
        "arch": indices[heights[indices] > 62.0],
        "descending": falling[(heights[falling] <= 66.0) & (heights[falling] > -70.0)],
        "abdominal": falling[heights[falling] <= -70.0],
    }
    deposits: list[Deposit] = []
    for part, (odds, most) in _AORTIC_PARTS.items():
        if not chance(rng, odds, rate) or not parts[part].size:
            continue
        for _ in range(int(np.clip(rng.geometric(3.0 / most), 1, most))):
            deposits += _aortic_lesion(aorta, int(rng.choice(parts[part])), body_scale, rng)
    return deposits


def _aortic_lesion(
    aorta: Tube, index: int, body_scale: float, rng: np.random.Generator
) -> list[Deposit]:
    """Return a fleck, a plate, or a band that follows the wall."""
    angle = float(rng.uniform(0.0, 2.0 * np.pi))
    excess_hu = float(np.clip(rng.lognormal(np.log(560.0), 0.5), 130.0, 1800.0))
    size = float(rng.lognormal(0.0, 0.5))
    return along_wall(
        aorta,
        index,
        angle,
        size=size,
        excess_hu=excess_hu,
        owner=Structure.AORTIC_WALL_CALCIUM,
        body_scale=body_scale,
        rng=rng,
    )


def _aortic_valve(
    anatomy: Anatomy, body_scale: float, rate: float, rng: np.random.Generator
) -> list[Deposit]:
    """Return plates on the cusps and lumps at their bases, from a fleck to a stony valve."""
    if not chance(rng, 0.3, rate):
        return []
    axis = anatomy.aorta.points[2] - anatomy.aorta.points[0]
    normal, first, second = frame_along(axis)
    radius = 0.85 * float(anatomy.aorta.radii[1])
    heaviness = float(rng.lognormal(0.0, 0.8))
    start = float(rng.uniform(0.0, 2.0 * np.pi))
    excess_hu = float(np.clip(rng.lognormal(np.log(540.0), 0.45), 150.0, 1500.0))
    deposits = []
    for _ in range(int(np.clip(rng.geometric(0.3) * heaviness, 1, 40))):
        cusp = int(rng.integers(3))
        angle = start + 2.0 * np.pi * (cusp + rng.uniform(-0.45, 0.45)) / 3.0
        outwards = np.cos(angle) * first + np.sin(angle) * second
        distance = radius * float(np.sqrt(rng.uniform(0.05, 1.0)))
        # Cusps rise from the ring towards the middle.
        height = float(rng.normal(4.0 * (1.0 - distance / radius), 1.5))
        centre = anatomy.aortic_valve + distance * outwards + height * normal
        size = float(rng.lognormal(0.0, 0.4)) * float(np.clip(heaviness, 0.7, 1.6))
        deposits.append(
            free(
                centre * body_scale,
                (1.9 * size, 1.3 * size, 0.7 * size),
                excess_hu * float(rng.uniform(0.6, 1.4)),
                Structure.AORTIC_VALVE_CALCIUM,
                rng,
            )
        )
    return deposits


def _mitral_annulus(
    anatomy: Anatomy, body_scale: float, rate: float, rng: np.random.Generator
) -> list[Deposit]:
    """Return a spot, a bow or nearly a ring: up to more than 10 mL, of even or grainy density."""
    if not chance(rng, 0.22, rate):
        return []
    centre, normal = anatomy.mitral_annulus
    _, first, second = frame_along(normal)
    posterior = np.arctan2(second @ [0.3, 0.8, -0.5], first @ [0.3, 0.8, -0.5])
    radius = 16.5 * anatomy.settings.heart_scale
    extent = float(rng.beta(0.8, 1.2))
    span = 0.1 + 4.4 * extent
    thickness = float(np.clip(rng.lognormal(np.log(1.3 + 1.6 * extent), 0.5), 0.7, 6.5))
    excess_hu = float(np.clip(rng.lognormal(np.log(620.0), 0.45), 170.0, 1700.0))
    gaps = float(rng.uniform(0.0, 0.35))
    middle = posterior + float(rng.normal(0.0, 0.4))
    height = 0.0
    deposits = []
    for angle in np.arange(-0.5 * span, 0.5 * span + 0.01, 0.8 * thickness / radius):
        height = 0.8 * height + float(rng.normal(0.0, 0.5))
        if rng.random() < gaps:
            continue
        outwards = np.cos(middle + angle) * first + np.sin(middle + angle) * second
        along = np.cross(normal, outwards)
        size = thickness * float(rng.lognormal(0.0, 0.25))
        x, y, z = (
            (centre + (radius + rng.normal(0.0, 0.7)) * outwards + height * normal) * body_scale
        ).tolist()
        deposits.append(
            Deposit(
                owner=Structure.MITRAL_ANNULUS_CALCIUM,
                centre_lps_mm=(x, y, z),
                frame=np.stack([along, normal, np.cross(along, normal)]),
                radii_mm=(
                    1.1 * size,
                    size * float(rng.uniform(0.8, 1.5)),
                    size * float(rng.uniform(0.6, 1.0)),
                ),
                excess_hu=excess_hu * float(rng.uniform(0.7, 1.3)),
                roughness=float(rng.uniform(0.2, 0.7)),
                texture_seed=int(rng.integers(2**31)),
            )
        )
    return deposits


def _pericardium(
    anatomy: Anatomy, body_scale: float, rate: float, rng: np.random.Generator
) -> list[Deposit]:
    """Return plates on the sac around the heart: one, or many that make a shell."""
    if not chance(rng, 0.15, rate):
        return []
    wanted = int(np.clip(rng.geometric(0.15), 1, 30))
    points, normals = anatomy.pericardium(rng, 10 * wanted)
    if not len(points):
        return []
    # Plates lie near each other: those nearest to the first one.
    order = np.linalg.norm(points - points[0], axis=1).argsort()
    chosen = order[: wanted if rng.random() < 0.5 else 4 * wanted]
    excess_hu = float(np.clip(rng.lognormal(np.log(600.0), 0.4), 160.0, 1500.0))
    deposits: list[Deposit] = []
    for index in rng.permutation(chosen)[:wanted]:
        normal = normals[index]
        along = frame_along(np.cross(normal, rng.normal(size=3)))[0]
        size = float(rng.lognormal(np.log(3.0), 0.5))
        x, y, z = (points[index] * body_scale).tolist()
        deposits.append(
            Deposit(
                owner=Structure.PERICARDIAL_CALCIUM,
                centre_lps_mm=(x, y, z),
                frame=np.stack([along, np.cross(normal, along), normal]),
                radii_mm=(
                    size,
                    size * float(rng.uniform(0.5, 1.5)),
                    float(np.clip(0.3 * size, 0.5, 2.2)),
                ),
                excess_hu=excess_hu * float(rng.uniform(0.7, 1.3)),
                bend_radius_mm=35.0,
                roughness=float(rng.uniform(0.2, 0.7)),
                texture_seed=int(rng.integers(2**31)),
            )
        )
    return deposits


_NODE_SITES: Final = (
    (-40.0, -34.0, 22.0), (-46.0, -24.0, 4.0), (2.0, -26.0, 44.0), (-18.0, -46.0, 58.0),
    (24.0, -36.0, 64.0), (52.0, -26.0, 26.0), (56.0, -16.0, 2.0), (-14.0, -60.0, 84.0),
    (12.0, -70.0, 74.0), (8.0, -24.0, 20.0), (-24.0, -40.0, 100.0),
)  # fmt: skip


def _nodes(
    anatomy: Anatomy, body_scale: float, rate: float, rng: np.random.Generator
) -> list[Deposit]:
    """Return calcified lymph nodes: grains in a node, or a node that is calcified altogether."""
    if not chance(rng, 0.35, rate):
        return []
    deposits: list[Deposit] = []
    for _ in range(int(rng.integers(1, 6))):
        site = anatomy.place(_NODE_SITES[int(rng.integers(len(_NODE_SITES)))])
        deposits += cluster(
            (site + rng.normal(0.0, 4.0, size=3)) * body_scale,
            count=int(rng.integers(1, 9)),
            spread_mm=float(rng.uniform(0.8, 4.0)),
            size_mm=float(rng.lognormal(np.log(1.4), 0.45)),
            excess_hu=float(np.clip(rng.lognormal(np.log(650.0), 0.55), 130.0, 2000.0)),
            owner=Structure.NODE_CALCIUM,
            rng=rng,
        )
    return deposits


def _airway_cartilage(
    anatomy: Anatomy, body_scale: float, rate: float, rng: np.random.Generator
) -> list[Deposit]:
    """Return arcs of cartilage in the wall of trachea and bronchi."""
    if not chance(rng, 0.5, rate):
        return []
    share = float(rng.uniform(0.15, 0.8))
    brightness = float(rng.lognormal(0.0, 0.4))
    deposits = []
    for airway in anatomy.airways:
        for index in range(1, len(airway.points) - 1):
            if rng.random() > share:
                continue
            deposits += [
                in_wall(
                    airway,
                    index,
                    float(rng.uniform(0.0, 2.0 * np.pi)),
                    body_scale=body_scale,
                    radii_mm=(
                        float(rng.uniform(0.7, 1.6)),
                        float(rng.uniform(0.8, 5.0)),
                        float(rng.uniform(0.4, 0.8)),
                    ),
                    excess_hu=float(np.clip(rng.uniform(100.0, 480.0) * brightness, 80.0, 900.0)),
                    owner=Structure.BRONCHIAL_CARTILAGE,
                    rng=rng,
                    depth_mm=float(rng.uniform(-0.9, 0.1)),
                )
                for _ in range(int(rng.integers(1, 4)))
            ]
    return deposits


def _costal_cartilage(
    anatomy: Anatomy, body_scale: float, rate: float, rng: np.random.Generator
) -> list[Deposit]:
    """Return calcium at the rim or in the middle of costal cartilages, or both."""
    share = float(np.clip(rng.beta(1.2, 2.5) * rate, 0.0, 0.9))
    # Rims are usual in men, centres in women; mixtures in both.
    rim_share = float(np.clip(rng.normal(0.65 if anatomy.settings.sex == "male" else 0.35, 0.3),
                              0.0, 1.0))  # fmt: skip
    deposits = []
    for cartilage in anatomy.skeleton.costal_cartilages:
        own_share = share * float(rng.uniform(0.4, 1.6))
        for index in range(1, len(cartilage.points) - 1):
            for _ in range(3):
                if rng.random() > own_share:
                    continue
                size = float(rng.lognormal(0.25, 0.4))
                is_rim = rng.random() < rim_share
                deposits.append(
                    in_wall(
                        cartilage,
                        index,
                        float(rng.uniform(0.0, 2.0 * np.pi)),
                        body_scale=body_scale,
                        radii_mm=(1.9 * size, 1.4 * size, min(0.9 * size, 2.0)),
                        excess_hu=float(rng.uniform(120.0, 800.0)),
                        owner=Structure.COSTAL_CARTILAGE_CALCIUM,
                        rng=rng,
                        depth_mm=0.0
                        if is_rim
                        else float(rng.uniform(0.4, 1.0)) * float(cartilage.radii[index]),
                    )
                )
    return deposits


_MAKERS: Final[tuple[Maker, ...]] = (
    _aortic_wall, _aortic_valve, _mitral_annulus, _pericardium, _nodes, _airway_cartilage,
    _costal_cartilage, sample_vessel_calcium, sample_organ_calcium, sample_enteric_content,
)  # fmt: skip
CONFUSER_KINDS: Final = len(_MAKERS)
"""Number of random streams that :func:`sample_confusers` takes."""
