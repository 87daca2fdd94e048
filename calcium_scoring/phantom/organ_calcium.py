"""Granulomas, stones and other dense spots of organs, and bright content of the bowel."""

from __future__ import annotations

from typing import Final

import numpy as np

from calcium_scoring.phantom.abdomen import Organ
from calcium_scoring.phantom.anatomy import Anatomy
from calcium_scoring.phantom.cage import cage_section, dome_distance
from calcium_scoring.phantom.deposits import Deposit
from calcium_scoring.phantom.placing import chance, cluster, free
from calcium_scoring.phantom.shapes import Vectors
from calcium_scoring.phantom.structures import Structure

_TISSUE_HU: Final = 45.0
_FOCI: Final = {
    # organ: odds, most foci, median radius in mm, its spread: our choice.
    "liver": (0.15, 5, 1.4, 0.45),
    "spleen": (0.15, 12, 0.9, 0.4),
    "gallbladder": (0.2, 8, 2.6, 0.5),
    "left kidney": (0.08, 4, 1.5, 0.5),
    "right kidney": (0.08, 4, 1.5, 0.5),
    "pancreas": (0.05, 12, 0.9, 0.4),
}
_LUNG_ODDS: Final = 0.25
_THYROID_ODDS: Final = 0.2
_ENTERIC_ODDS: Final = 0.2
_SHARE_OF_RADII: Final = 0.75
"""How near to the surface of an organ calcium lies."""


def sample_organ_calcium(
    anatomy: Anatomy, body_scale: float, rate: float, rng: np.random.Generator
) -> list[Deposit]:
    """Return calcium of liver, spleen, gall bladder, kidneys, pancreas, lungs and thyroid."""
    deposits: list[Deposit] = []
    for organ in anatomy.organs:
        odds, most, size, spread = _FOCI.get(organ.name, (0.0, 0, 1.0, 0.0))
        if not chance(rng, odds, rate):
            continue
        for _ in range(int(rng.integers(1, most + 1))):
            place = _inside(organ, rng)
            if _above_diaphragm(anatomy, place):
                continue
            deposits += cluster(
                anatomy.place(place) * body_scale,
                count=1 if rng.random() < 0.7 else int(rng.integers(2, 5)),
                spread_mm=1.5,
                size_mm=size * float(rng.lognormal(0.0, spread)),
                excess_hu=float(np.clip(rng.lognormal(np.log(520.0), 0.5), 130.0, 1800.0)),
                owner=Structure.ORGAN_CALCIUM,
                rng=rng,
            )
    if chance(rng, _LUNG_ODDS, rate):
        deposits += _lung_granulomas(anatomy, body_scale, rng)
    if chance(rng, _THYROID_ODDS, rate):
        deposits += _thyroid(anatomy, body_scale, rng)
    return deposits


def sample_enteric_content(
    anatomy: Anatomy, body_scale: float, rate: float, rng: np.random.Generator
) -> list[Deposit]:
    """Return bright food, tablets or contrast in stomach and bowel: often spots, seldom pools."""
    if not chance(rng, _ENTERIC_ODDS, rate):
        return []
    deposits = []
    excess_hu = float(np.clip(rng.lognormal(np.log(260.0), 0.6), 90.0, 1500.0))
    hollow = [organ for organ in anatomy.organs if organ.content in {"hollow", "gas"}]
    if not hollow:
        return []
    for _ in range(int(rng.integers(1, 4))):
        organ = hollow[int(rng.integers(len(hollow)))]
        is_pool = rng.random() < 0.4
        for _ in range(1 if is_pool else int(rng.integers(1, 8))):
            place = _inside(organ, rng)
            if _above_diaphragm(anatomy, place):
                continue
            size = float(rng.uniform(6.0, 15.0)) if is_pool else float(rng.lognormal(0.6, 0.5))
            deposits.append(
                free(
                    anatomy.place(place) * body_scale,
                    (1.3 * size, size, size * float(rng.uniform(0.5, 1.0))),
                    excess_hu * float(rng.uniform(0.6, 1.4)),
                    Structure.ENTERIC_CONTRAST,
                    rng,
                )
            )
    return deposits


def _inside(organ: Organ, rng: np.random.Generator) -> Vectors:
    """Return a random place in an organ of the ideal patient."""
    part = organ.parts[int(rng.integers(len(organ.parts)))]
    unit = rng.normal(size=3)
    unit *= _SHARE_OF_RADII * float(rng.random()) ** (1.0 / 3.0) / np.linalg.norm(unit)
    return np.asarray(part.centre + (unit * np.array(part.radii)) @ part.axes, dtype=np.float64)


def _above_diaphragm(anatomy: Anatomy, place: Vectors) -> bool:
    x, y = (np.array([value], dtype=np.float32) for value in place[:2])
    return bool(dome_distance(x, y, float(place[2]), anatomy.dome_heights)[0] > -6.0)


def _lung_granulomas(
    anatomy: Anatomy, body_scale: float, rng: np.random.Generator
) -> list[Deposit]:
    """Return dense nodules in the lungs, away from the heart; they also replace air."""
    deposits: list[Deposit] = []
    air = _TISSUE_HU - anatomy.settings.lung_hu
    for _ in range(int(rng.geometric(0.4))):
        place = np.array(
            [
                float(rng.choice([-1.0, 1.0]) * rng.uniform(55.0, 110.0)),
                float(rng.uniform(-95.0, 20.0)),
                float(rng.uniform(-40.0, 110.0)),
            ]
        )
        half_width, front, back = cage_section(float(place[2]), anatomy.settings.chest_depth_scale)
        depth = (place[1] - 0.5 * (front + back)) / (0.5 * (back - front) - 8.0)
        is_in_cage = (place[0] / max(half_width - 8.0, 1.0)) ** 2 + depth**2 < 1.0
        apart = min(float(c.distance(*place.tolist())) for c in anatomy.mediastinum.chambers)
        if not is_in_cage or apart < 12.0 or not _above_diaphragm(anatomy, place):
            continue
        size = float(rng.lognormal(np.log(1.5), 0.45))
        deposits.append(
            free(
                anatomy.place(place) * body_scale,
                (1.2 * size, size, size),
                air + float(np.clip(rng.lognormal(np.log(500.0), 0.6), 100.0, 1800.0)),
                Structure.ORGAN_CALCIUM,
                rng,
                roughness=float(rng.uniform(0.0, 0.3)),
            )
        )
    return deposits


def _thyroid(anatomy: Anatomy, body_scale: float, rng: np.random.Generator) -> list[Deposit]:
    """Return dense nodules and calcium of the thyroid."""
    thyroid = anatomy.abdomen.thyroid
    deposits: list[Deposit] = []
    for _ in range(int(rng.integers(1, 4))):
        place = anatomy.place(_inside(thyroid, rng))
        is_nodule = rng.random() < 0.4
        deposits += cluster(
            place * body_scale,
            count=1 if is_nodule else int(rng.integers(1, 6)),
            spread_mm=2.5,
            size_mm=float(rng.uniform(4.0, 11.0) if is_nodule else rng.lognormal(0.2, 0.4)),
            # Nodules are faintly dense with iodine, calcium is bright.
            excess_hu=float(rng.uniform(60.0, 160.0) if is_nodule else rng.uniform(200.0, 1200.0)),
            owner=Structure.ORGAN_CALCIUM,
            rng=rng,
        )
    return deposits
