"""One slice after another: anatomy, calcium and metal through motion, scanner and noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calcium_scoring.phantom.acquisition import HIGHEST_HU, FloatImage, Scanner
from calcium_scoring.phantom.anatomy import Anatomy
from calcium_scoring.phantom.artefacts import StreakStyle, beam_hardening, metal_streaks
from calcium_scoring.phantom.deposits import DepositImage
from calcium_scoring.phantom.motion import HeartMotion, SliceMotion
from calcium_scoring.phantom.noise import NoiseSource, Section
from calcium_scoring.phantom.painting import PlanePainter
from calcium_scoring.phantom.structures import Structure
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.volume.label_map import LabelArray

SEED_EXCESS_HU: Final = 60.0
"""Noise-free excess of a voxel that starts a lesion: muscle and this make about 110 HU."""
REACH_EXCESS_HU: Final = 5.0
"""Noise-free excess that still counts as the rim of a lesion."""
STRUCTURE_WEIGHT: Final = 0.1
"""Share of a slice that a plane must have for its structures to be labelled."""
CONFUSER_EXCESS_HU: Final = 20.0
"""Noise-free excess from which a voxel carries a structure's label."""

_EIGHT = np.ones((3, 3), dtype=bool)
_SOFT_HU: Final = 100.0
"""Painted tissue above it is bone or iodine, whose attenuation depends on the tube voltage."""
_OVERVIEW_PIXEL_MM: Final = 6.0
_OVERVIEW_SIZE: Final = 96
_STREAKING_HU: Final = 300.0
_STREAKING_MOTION_MM: Final = 6.0
_CALCIUM_STREAKS: Final = 0.8
"""How much of its excess moving calcium counts as metal does. Our choice."""
_METAL: Final = (Structure.METAL, Structure.STENT)


@dataclass(frozen=True, eq=False)
class ScannedSlice:
    """One slice: scanned HU, labels of calcium, structures, and what belongs to the heart."""

    hu: FloatImage
    labels: LabelArray
    structures: NDArray[np.uint8]
    heart: NDArray[np.bool_]


class Exposure:
    """A scan of one patient; slices are taken in order, since neighbours share planes and noise.

    Parameters
    ----------
    anatomy, scanner
        Who is scanned and how.
    plaques, confusers
        Images of deposits and metal in this scan, without motion.
    streams
        Random streams of motion, noise and streaks.
    """

    def __init__(
        self,
        anatomy: Anatomy,
        scanner: Scanner,
        *,
        plaques: Sequence[DepositImage],
        confusers: Sequence[DepositImage],
        streams: Sequence[np.random.SeedSequence],
    ) -> None:
        motion_stream, noise_stream, streak_stream = streams
        self._scanner = scanner
        self._painter = PlanePainter(anatomy, scanner)
        self._plaques, self._confusers = plaques, confusers
        self._motion = HeartMotion.draw(scanner.settings, np.random.default_rng(motion_stream))
        scale = anatomy.settings.body_scale
        centre = scale * np.mean([shape.centre for shape in anatomy.chambers[:4]], axis=0)
        column, row = (centre[:2] - scanner.origin[:2]) / scanner.settings.pixel_spacing_mm
        self._heart_middle = (float(row), float(column))
        overview = _Overview(anatomy, scanner)
        self._noise = NoiseSource(scanner, noise_stream, section_at=overview.section_at)
        style_stream, *self._streak_streams = streak_stream.spawn(1 + scanner.settings.slice_count)
        self._style = StreakStyle.draw(np.random.default_rng(style_stream))
        self._planes: dict[int, tuple[FloatImage, NDArray[np.uint8], NDArray[np.bool_]]] = {}

    def slice(self, index: int) -> ScannedSlice:
        """Return one slice of the scan."""
        scanner, pixel = self._scanner, self._scanner.settings.pixel_spacing_mm
        background, structures, heart_share = self._painted(index)
        motion = self._motion.of_slice(index, heart_share, self._heart_middle, pixel)
        excess = _moved(_excess_by_owner(self._plaques, index, background.shape), motion)
        others = _moved(_excess_by_owner(self._confusers, index, background.shape), motion)
        if motion is not None:
            background = motion.applied(background)
        metal = np.zeros_like(background)
        for owner, values in others.items():
            background += values
            if owner in _METAL:
                metal += values
            label = np.where(values >= CONFUSER_EXCESS_HU, np.uint8(owner), np.uint8(0))
            np.maximum(structures, label, out=structures)
        total = sum(excess.values(), np.zeros_like(background))
        artefact = self._artefact(index, background + total, metal, total)
        noise = self._noise.of_slice(index)
        hu = scanner.reconstructed(background + total + artefact + noise)
        structures[~scanner.field_of_view] = Structure.NONE
        labels = np.zeros(hu.shape, dtype=np.uint8)
        if excess:
            labels = _truth_of_slice(hu, background, total, excess)
        return ScannedSlice(hu, labels, structures, (heart_share >= 0.5) & scanner.field_of_view)

    def _painted(self, index: int) -> tuple[FloatImage, NDArray[np.uint8], FloatImage]:
        """Return tissue, structures and share of the heart of a slice, before motion."""
        weights = self._scanner.planes_of_slice(index)
        needed = {plane for plane, _ in weights}
        self._planes = {plane: image for plane, image in self._planes.items() if plane in needed}
        shape = self._scanner.geometry.shape[1:]
        tissue, heart = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
        structures = np.zeros(shape, dtype=np.uint8)
        for plane, weight in weights:
            if plane not in self._planes:
                self._planes[plane] = self._painter.plane(plane)
            hu, structure, is_heart = self._planes[plane]
            tissue += np.float32(weight) * hu
            heart += np.float32(weight) * is_heart
            if weight >= STRUCTURE_WEIGHT:
                np.maximum(structures, structure, out=structures)
        change = np.float32(self._scanner.calcium_factor - 1.0)
        if change:
            tissue += change * np.maximum(tissue - np.float32(_SOFT_HU), 0.0)
        return self._scanner.blurred(tissue), structures, heart

    def _artefact(
        self, index: int, image: FloatImage, metal: FloatImage, calcium: FloatImage
    ) -> FloatImage:
        settings = self._scanner.settings
        seen = np.minimum(image - metal, np.float32(HIGHEST_HU))
        artefact = beam_hardening(seen, settings.pixel_spacing_mm, settings.hardening_strength)
        # Dense calcium that moves streaks a little, too.
        share = min(1.0, settings.motion_mm / _STREAKING_MOTION_MM) * _CALCIUM_STREAKS
        source = metal + np.float32(share) * np.maximum(calcium - np.float32(_STREAKING_HU), 0.0)
        if source.max() > 1.0:
            rng = np.random.default_rng(self._streak_streams[index])
            artefact += metal_streaks(source, settings.pixel_spacing_mm, self._style, rng)
        return artefact


class _Overview:
    """The whole body on a coarse grid, whatever the field of view of the scan."""

    def __init__(self, anatomy: Anatomy, scanner: Scanner) -> None:
        settings = replace(
            scanner.settings,
            matrix_size=_OVERVIEW_SIZE,
            pixel_spacing_mm=_OVERVIEW_PIXEL_MM,
        )
        middle = scanner.centre_lps_mm[2]
        scale = anatomy.settings.body_scale
        self._scanner = Scanner(settings, (0.0, -35.0 * scale, middle))
        self._painter = PlanePainter(anatomy, self._scanner)

    def section_at(self, z_mm: float) -> Section:
        """Return the section at a height."""
        plane = round((z_mm - self._scanner.origin[2]) / self._scanner.plane_pitch_mm)
        hu = self._painter.plane(plane)[0]
        x, y = self._scanner.origin[:2].tolist()
        return hu, _OVERVIEW_PIXEL_MM, (x, y)


def _excess_by_owner(
    images: Sequence[DepositImage], index: int, shape: tuple[int, ...]
) -> dict[int, FloatImage]:
    excess: dict[int, FloatImage] = {}
    for image in images:
        slab = image.slab(index)
        if slab is not None:
            where, values = slab
            owner = int(image.owner)
            excess.setdefault(owner, np.zeros(shape, dtype=np.float32))[where] += values
    return excess


def _moved(excess: dict[int, FloatImage], motion: SliceMotion | None) -> dict[int, FloatImage]:
    if motion is None:
        return excess
    return {
        owner: motion.applied(image) if image[motion.window].any() else image
        for owner, image in excess.items()
    }


def _truth_of_slice(
    hu: FloatImage, background: FloatImage, total: FloatImage, excess: dict[int, FloatImage]
) -> LabelArray:
    """Return the labels of one slice; the rule is that of ``PhantomPatient``."""
    # Soft tissue is no rival of a plaque; what is denser than it is.
    rival = background - np.float32(60.0)
    candidate = (hu >= LITERATURE.threshold_hu) & (total >= REACH_EXCESS_HU) & (total > rival)
    regions, _ = ndimage.label(candidate, structure=_EIGHT)
    kept = np.unique(regions[candidate & (total >= SEED_EXCESS_HU)])
    is_calcium = np.isin(regions, kept[kept > 0])
    arteries = np.array(sorted(excess), dtype=np.uint8)
    strongest = np.argmax([excess[int(artery)] for artery in arteries], axis=0)
    labels: LabelArray = np.where(is_calcium, arteries[strongest], 0).astype(np.uint8)
    return labels
