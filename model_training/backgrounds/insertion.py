"""Calcium inserted into a real scan, through the same physics as in simulated patients.

Deposits are sampled along the marked centre lines, imaged by a scanner with the grid, slice profile
and point spread of the real one, smeared by the motion of the heart, and added to the real pixels
together with the wall of the vessel where the line runs through fat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calcium_scoring.phantom.acquisition import HIGHEST_HU, FloatImage, Scanner
from calcium_scoring.phantom.deposits import Deposit, DepositImage, image_of
from calcium_scoring.phantom.exposure import CONFUSER_EXCESS_HU, REACH_EXCESS_HU, SEED_EXCESS_HU
from calcium_scoring.phantom.motion import HeartMotion, SliceMotion
from calcium_scoring.phantom.noise import NoiseSource
from calcium_scoring.phantom.plaque import sample_plaques
from calcium_scoring.phantom.structures import Structure
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.volume.ct_volume import AIR_HU, CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import LabelArray, LabelMap
from model_training.backgrounds.confusers import sample_confusers
from model_training.backgrounds.scan import Background, scanner_of
from model_training.backgrounds.variation import (
    InsertionSettings,
    SliceMerge,
    merged,
    near_heart,
    softened,
)
from model_training.backgrounds.vessel_wall import VesselWall

SOFT_TISSUE_HU: Final = 60.0
"""What is denser than this rivals a plaque, as in simulated patients."""
_RIVAL_MM: Final = 3.0
"""Width of the median that takes the noise out of a rival: wider than a rim. Our choice."""
_STILL: Final = (Structure.AORTIC_WALL_CALCIUM,)
"""What the beating heart does not move; the wall of the root moves little."""
_MOST_HEART: Final = 0.5
_WALL: Final = 0
"""Owner of the soft tissue of a diseased vessel: neither an artery nor a structure."""

_EIGHT = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True, eq=False)
class InsertedScan:
    """A real scan with calcium whose place is known.

    ``truth`` follows the rule of :class:`PhantomPatient`; the noise-free background that it needs
    is the median of the real pixels within 3 mm. ``structures`` holds the :class:`Structure` of
    inserted calcium outside the coronary arteries and of what is marked in the scan itself; any
    other dense voxel is 0. ``plaques`` and ``confusers`` are what was inserted, also where too
    faint to be labelled.
    """

    settings: InsertionSettings
    volume: CtVolume
    truth: LabelMap
    structures: NDArray[np.uint8]
    heart: NDArray[np.bool_]
    plaques: tuple[Deposit, ...]
    confusers: tuple[Deposit, ...]


def insert_calcium(
    background: Background, *, settings: InsertionSettings, seed: np.random.SeedSequence
) -> InsertedScan:
    """Return a scan with calcium along its marked arteries; the same seed gives the same bytes.

    Parameters
    ----------
    background
        A scan without coronary calcium and its marks.
    settings
        How much calcium, and how the scan is varied.
    seed
        Decides where the calcium lies, how the heart moves, and the added noise.
    """
    plaque_stream, confuser_stream, motion_stream, noise_stream = seed.spawn(4)
    marks = background.marks
    plaques = sample_plaques(
        marks.coronary_tree(),
        burden_category=settings.burden_category,
        body_scale=1.0,
        rng=np.random.default_rng(plaque_stream),
    )
    confusers = sample_confusers(
        marks, rate=settings.confuser_rate, rng=np.random.default_rng(confuser_stream)
    )
    scanner = background.scanner(psf_factor=settings.psf_factor, motion_mm=settings.motion_mm)
    calcium = _Calcium(
        background,
        scanner,
        _images((*plaques, *confusers), scanner),
        VesselWall(marks, plaques, scanner),
        HeartMotion.draw(scanner.settings, np.random.default_rng(motion_stream)),
    )
    geometry = settings.merge.geometry(background.volume.geometry)
    thickness = settings.merge.thickness_mm(
        marks.slice_thickness_mm, background.volume.geometry.spacing_between_slices_mm
    )
    noise = _noise_source(background, geometry, thickness, settings, noise_stream)
    hu, labels, structures, heart = [], [], [], []
    for index, sources in enumerate(settings.merge.sources(scanner.settings.slice_count)):
        scanned, label, structure = _inserted_slice(
            background, calcium, sources, settings, added_noise=noise.of_slice(index)
        )
        hu.append(scanned)
        labels.append(label)
        structures.append(structure)
        share = background.heart[sources.start : sources.stop].mean(axis=0)
        heart.append(share >= _MOST_HEART)
    acquisition = background.volume.acquisition
    if settings.merge != SliceMerge():
        acquisition = replace(acquisition, slice_thickness_mm=thickness)
    whole = InsertedScan(
        settings=settings,
        volume=CtVolume(geometry, np.stack(hu), acquisition),
        truth=LabelMap(geometry, np.stack(labels)),
        structures=np.stack(structures),
        heart=np.stack(heart),
        plaques=plaques,
        confusers=confusers,
    )
    return _cropped(whole)


def label_calcium(
    hu: FloatImage, background: FloatImage, excess: dict[int, FloatImage]
) -> LabelArray:
    """Return the labels of one slice; the rule is that of :class:`PhantomPatient`.

    Parameters
    ----------
    hu
        The slice with calcium.
    background
        The real pixels before coronary calcium was inserted; other calcium included.
    excess
        What the plaques of each artery add, noise-free.
    """
    if not excess:
        return np.zeros(hu.shape, dtype=np.uint8)
    total = sum(excess.values(), np.zeros_like(hu))
    is_reached = (hu >= LITERATURE.threshold_hu) & (total >= REACH_EXCESS_HU)
    candidate = is_reached & (total > background - np.float32(SOFT_TISSUE_HU))
    regions, _ = ndimage.label(candidate, structure=_EIGHT)
    kept = np.unique(regions[candidate & (total >= SEED_EXCESS_HU)])
    is_calcium = np.isin(regions, kept[kept > 0])
    arteries = np.array(sorted(excess), dtype=np.uint8)
    strongest = np.argmax([excess[int(artery)] for artery in arteries], axis=0)
    labels: LabelArray = np.where(is_calcium, arteries[strongest], 0).astype(np.uint8)
    return labels


class _Calcium:
    """What inserted calcium adds to each slice of the scan, motion included."""

    def __init__(
        self,
        background: Background,
        scanner: Scanner,
        images: Sequence[DepositImage],
        wall: VesselWall,
        motion: HeartMotion,
    ) -> None:
        self._heart, self._hu, self._wall = background.heart, background.volume.hu, wall
        self._pixel_mm = scanner.settings.pixel_spacing_mm
        self._images, self._motion = images, motion
        _, rows, columns = np.nonzero(background.heart)
        self._middle = (float(rows.mean()), float(columns.mean()))

    def in_slice(self, index: int) -> dict[int, FloatImage]:
        """Return HU by owner, (row, column), for one slice of the scan."""
        excess: dict[int, FloatImage] = {}
        for image in self._images:
            slab = image.slab(index)
            if slab is not None:
                where, values = slab
                empty = np.zeros(self._heart.shape[1:], dtype=np.float32)
                excess.setdefault(self._key(image), empty)[where] += values
        if not excess:
            return excess
        wall = self._wall.in_slice(index, self._hu[index])
        if wall is not None:
            excess[_WALL] = wall
        motion = self._motion.of_slice(
            index, self._heart[index].astype(np.float32), self._middle, self._pixel_mm
        )
        return {owner: self._moved(owner, image, motion) for owner, image in excess.items()}

    @staticmethod
    def _key(image: DepositImage) -> int:
        """Return the artery, or a structure as a negative number: both count from 1."""
        return -int(image.owner) if isinstance(image.owner, Structure) else int(image.owner)

    @staticmethod
    def _moved(owner: int, image: FloatImage, motion: SliceMotion | None) -> FloatImage:
        if motion is None or -owner in _STILL:
            return image
        return motion.applied(image)


def _inserted_slice(
    background: Background,
    calcium: _Calcium,
    sources: range,
    settings: InsertionSettings,
    *,
    added_noise: FloatImage,
) -> tuple[FloatImage, LabelArray, NDArray[np.uint8]]:
    """Return scanned HU, labels and structures of one new slice."""
    pixel_mm = background.volume.geometry.pixel_spacing_mm[0]
    sigma = settings.softening_sigma_mm / pixel_mm
    original = merged(background.volume.hu.astype(np.float32, copy=False), sources)
    real = softened(original, sigma)
    excess: dict[int, FloatImage] = {}
    for index in sources:
        for owner, image in calcium.in_slice(index).items():
            share = image / np.float32(len(sources))
            excess[owner] = excess[owner] + share if owner in excess else share
    if sigma:
        excess = {owner: ndimage.gaussian_filter(image, sigma) for owner, image in excess.items()}
    known = background.structures[sources.start : sources.stop].max(axis=0)
    structures = known.copy()
    other = np.zeros_like(real)
    for owner, image in excess.items():
        if owner <= 0:
            other += image
        if owner < 0:
            label = np.where(image >= CONFUSER_EXCESS_HU, np.uint8(-owner), np.uint8(0))
            np.maximum(structures, label, out=structures)
    plaques = {owner: image for owner, image in excess.items() if owner > 0}
    total = sum(plaques.values(), np.zeros_like(real))
    is_padding = original <= AIR_HU
    hu = np.clip(np.rint(real + other + total + added_noise), AIR_HU, HIGHEST_HU)
    hu = np.where(is_padding, original, hu).astype(np.float32)
    labels = np.zeros(hu.shape, dtype=np.uint8)
    box = _box_of(total >= REACH_EXCESS_HU, margin=round(_RIVAL_MM / pixel_mm) + 1)
    if box is not None:
        size = 2 * round(0.5 * _RIVAL_MM / pixel_mm) + 1
        calm = ndimage.median_filter(real[box], size=size) + other[box]
        labels[box] = label_calcium(
            hu[box], calm, {owner: image[box] for owner, image in plaques.items()}
        )
    structures[labels > 0] = Structure.NONE
    return hu, labels, structures


def _noise_source(
    background: Background,
    geometry: VolumeGeometry,
    thickness_mm: float,
    settings: InsertionSettings,
    stream: np.random.SeedSequence,
) -> NoiseSource:
    marks = background.marks
    empty = CtVolume(geometry, np.zeros(geometry.shape, dtype=np.float32))
    scanner = scanner_of(
        empty,
        psf_sigma_mm=float(np.hypot(marks.psf_sigma_mm, settings.softening_sigma_mm)),
        slice_thickness_mm=thickness_mm,
    )
    noisy = replace(scanner.settings, noise_sd_hu=settings.added_noise_hu)
    return NoiseSource(replace(scanner, settings=noisy), stream)


def _images(deposits: Sequence[Deposit], scanner: Scanner) -> list[DepositImage]:
    images = (image_of(deposit, scanner) for deposit in deposits)
    return [image for image in images if image is not None]


def _box_of(mask: NDArray[np.bool_], margin: int) -> tuple[slice, slice] | None:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + margin + 1),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + margin + 1),
    )


def _cropped(scan: InsertedScan) -> InsertedScan:
    margin = scan.settings.margin_mm
    if margin is None or not scan.heart.any():
        return scan
    box = near_heart(scan.volume.geometry, scan.heart, margin)
    geometry = scan.volume.geometry.cropped(box)
    return replace(
        scan,
        volume=CtVolume(geometry, scan.volume.hu[box].copy(), scan.volume.acquisition),
        truth=LabelMap(geometry, scan.truth.labels[box].copy()),
        structures=scan.structures[box].copy(),
        heart=scan.heart[box].copy(),
    )
