"""From a label map and Hounsfield values to lesions.

A :class:`SliceLesion` is what Agatston weighs: a connected region of calcium within one slice.
A :class:`Lesion` joins the slice lesions of one artery that overlap in neighbouring slices; it
is what a reader counts and what volume and mass are given for.

Regions are formed on the calcium of all arteries together and then named after the artery that
holds most of their pixels, so that the total does not depend on where one artery is taken to end.

Some conventions form regions across slices at once (``connectivity_3d``). There a region is a
:class:`Lesion`, named and filtered as a whole, and its slice lesions are what it has in each
slice, connected within the slice or not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calcium_scoring.scoring.protocol import AcrossSlicesConnectivity, ScoringProtocol
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.label_map import CORONARY, Artery, LabelMap, MaskArray

IndexArray = NDArray[np.intp]

_STRUCTURES = {4: ndimage.generate_binary_structure(2, 1), 8: np.ones((3, 3), dtype=bool)}
_STRUCTURE_RANKS: dict[AcrossSlicesConnectivity, int] = {6: 1, 18: 2, 26: 3}


@dataclass(frozen=True, eq=False)
class SliceLesion:
    """A connected region of calcium within one slice.

    ``pixels`` is (2, n): row and column indices. ``artery`` is None where it is not known.
    ``lesion_peak_hu`` is the peak of its whole lesion where the protocol weighs by that, and
    None where it weighs each slice by its own.
    """

    slice_index: int
    artery: Artery | None
    pixels: IndexArray
    area_mm2: float
    peak_hu: float
    mean_hu: float
    lesion_peak_hu: float | None = None

    @property
    def weighing_peak_hu(self) -> float:
        """Attenuation that decides the density weight."""
        return self.peak_hu if self.lesion_peak_hu is None else self.lesion_peak_hu

    @property
    def pixel_count(self) -> int:
        """Number of pixels in the region."""
        return int(self.pixels.shape[1])


@dataclass(frozen=True, eq=False)
class Lesion:
    """Slice lesions of one artery that overlap from slice to slice; ``lesion_id`` counts from 1."""

    lesion_id: int
    artery: Artery | None
    slice_lesions: tuple[SliceLesion, ...]

    @property
    def first_slice_index(self) -> int:
        """Lowest slice that the lesion reaches."""
        return self.slice_lesions[0].slice_index

    @property
    def last_slice_index(self) -> int:
        """Highest slice that the lesion reaches."""
        return self.slice_lesions[-1].slice_index

    @property
    def voxel_count(self) -> int:
        """Number of voxels over all slices."""
        return sum(part.pixel_count for part in self.slice_lesions)

    @property
    def area_mm2(self) -> float:
        """Area summed over the slices."""
        return sum(part.area_mm2 for part in self.slice_lesions)

    @property
    def peak_hu(self) -> float:
        """Highest attenuation of any slice; Agatston weighs each slice by its own."""
        return max(part.peak_hu for part in self.slice_lesions)

    @property
    def mean_hu(self) -> float:
        """Mean attenuation over all voxels."""
        total = sum(part.mean_hu * part.pixel_count for part in self.slice_lesions)
        return total / self.voxel_count

    @property
    def centroid_index(self) -> tuple[float, float, float]:
        """Mean (slice, row, column) of the voxels, unweighted."""
        total = np.zeros(3)
        for part in self.slice_lesions:
            total += (part.slice_index * part.pixel_count, *part.pixels.sum(axis=1))
        slice_index, row, column = total / self.voxel_count
        return float(slice_index), float(row), float(column)


def find_lesions(volume: CtVolume, label_map: LabelMap, protocol: ScoringProtocol) -> list[Lesion]:
    """Return every lesion of the labelled calcium, from the lowest slice upwards.

    The label map must lie on the grid of the volume.
    """
    if protocol.connectivity_3d is None:
        return join_across_slices(find_slice_lesions(volume, label_map, protocol))
    return _find_lesions_across_slices(volume, label_map, protocol, protocol.connectivity_3d)


def find_slice_lesions(
    volume: CtVolume, label_map: LabelMap, protocol: ScoringProtocol
) -> list[SliceLesion]:
    """Return every region of labelled calcium within a slice that is large enough.

    The label map must lie on the grid of the volume. Slices ascend; so do first pixels. A
    protocol whose lesions are formed across slices is a ValueError: see :func:`find_lesions`.
    """
    _check_grid(volume, label_map)
    if protocol.connectivity_3d is not None:
        raise ValueError(f"Protocol {protocol.name} forms its lesions across slices.")
    structure = _STRUCTURES[protocol.in_plane_connectivity]
    pixel_area_mm2 = volume.geometry.pixel_area_mm2
    min_pixels = protocol.min_lesion_pixels(pixel_area_mm2)
    box = _calcium_box(label_map)
    if box is None:
        return []
    slices, rows, columns = box
    lesions = []
    for slice_index in range(slices.start, slices.stop):
        labels = label_map.labels[slice_index, rows, columns]
        hu = volume.hu[slice_index, rows, columns]
        regions, _ = ndimage.label((labels != 0) & is_calcium(hu, protocol), structure=structure)
        for number, part in enumerate(ndimage.find_objects(regions), start=1):
            local = np.array(np.nonzero(regions[part] == number))
            if local.shape[1] < min_pixels:
                continue
            inside = local + np.array([[part[0].start], [part[1].start]])
            artery = _artery_of(labels[inside[0], inside[1]])
            pixels = inside + np.array([[rows.start], [columns.start]])
            lesions.append(_slice_lesion(volume, slice_index, pixels, artery))
    return lesions


def is_calcium(hu: NDArray[np.floating | np.integer], protocol: ScoringProtocol) -> MaskArray:
    """Tell which attenuations reach the threshold of the protocol; any shape."""
    reaches: MaskArray = (
        hu >= protocol.threshold_hu
        if protocol.is_threshold_inclusive
        else hu > protocol.threshold_hu
    )
    return reaches


def join_across_slices(slice_lesions: Sequence[SliceLesion]) -> list[Lesion]:
    """Join slice lesions of one artery that share a pixel position in neighbouring slices.

    Slice lesions of the same slice share no pixel, as :func:`find_slice_lesions` gives them.
    Lesions are numbered from the lowest slice upwards, in the order of their first part.
    """
    group_of = list(range(len(slice_lesions)))

    def root(member: int) -> int:
        while group_of[member] != member:
            member = group_of[member]
        return member

    member_at: defaultdict[int, dict[tuple[int, int], int]] = defaultdict(dict)
    for upper, part in enumerate(slice_lesions):
        below = member_at[part.slice_index - 1]
        pixels = list(zip(*part.pixels.tolist(), strict=True))
        for lower in sorted({below[pixel] for pixel in pixels if pixel in below}):
            if slice_lesions[lower].artery == part.artery:
                first, second = sorted((root(lower), root(upper)))
                group_of[second] = first
        member_at[part.slice_index].update(dict.fromkeys(pixels, upper))
    groups: dict[int, list[SliceLesion]] = {}
    for member, part in enumerate(slice_lesions):
        groups.setdefault(root(member), []).append(part)
    return [
        Lesion(lesion_id, parts[0].artery, tuple(parts))
        for lesion_id, parts in enumerate(groups.values(), start=1)
    ]


def _find_lesions_across_slices(
    volume: CtVolume,
    label_map: LabelMap,
    protocol: ScoringProtocol,
    connectivity: AcrossSlicesConnectivity,
) -> list[Lesion]:
    _check_grid(volume, label_map)
    structure = ndimage.generate_binary_structure(3, _STRUCTURE_RANKS[connectivity])
    whole = _calcium_box(label_map)
    if whole is None:
        return []
    labels, hu = label_map.labels[whole], volume.hu[whole]
    regions, _ = ndimage.label((labels != 0) & is_calcium(hu, protocol), structure=structure)
    lesions: list[Lesion] = []
    for number, box in enumerate(ndimage.find_objects(regions), start=1):
        inside = regions[box] == number
        if np.count_nonzero(inside) < protocol.min_lesion_pixel_count:
            continue
        artery = _artery_of(labels[box][inside])
        lesion_peak_hu = float(hu[box][inside].max())
        corner = np.array([[whole[1].start + box[1].start], [whole[2].start + box[2].start]])
        parts = [
            _slice_lesion(
                volume,
                whole[0].start + box[0].start + offset,
                np.array(np.nonzero(of_slice)) + corner,
                artery,
                lesion_peak_hu if protocol.peak_over == "lesion" else None,
            )
            for offset, of_slice in enumerate(inside)
            if of_slice.any()
        ]
        lesions.append(Lesion(len(lesions) + 1, artery, tuple(parts)))
    return lesions


def _slice_lesion(
    volume: CtVolume,
    slice_index: int,
    pixels: IndexArray,
    artery: Artery | None,
    lesion_peak_hu: float | None = None,
) -> SliceLesion:
    values = volume.hu[slice_index][pixels[0], pixels[1]].astype(np.float64)
    return SliceLesion(
        slice_index=slice_index,
        artery=artery,
        pixels=pixels,
        area_mm2=pixels.shape[1] * volume.geometry.pixel_area_mm2,
        peak_hu=float(values.max()),
        mean_hu=float(values.mean()),
        lesion_peak_hu=lesion_peak_hu,
    )


def _calcium_box(label_map: LabelMap) -> tuple[slice, slice, slice] | None:
    """Return the smallest box (slice, row, column) that holds all labels; None without any.

    Regions are looked for within it only: in a whole chest that takes ten times as long.
    """
    slices = np.flatnonzero(label_map.labels.any(axis=(1, 2)))
    if not slices.size:
        return None
    seen_from_above: MaskArray = np.logical_or.reduce(
        label_map.labels[slices[0] : slices[-1] + 1], axis=0
    )
    rows = np.flatnonzero(seen_from_above.any(axis=1))
    columns = np.flatnonzero(seen_from_above.any(axis=0))
    first, last = ([int(indices[end]) for indices in (slices, rows, columns)] for end in (0, -1))
    return (
        slice(first[0], last[0] + 1),
        slice(first[1], last[1] + 1),
        slice(first[2], last[2] + 1),
    )


def _check_grid(volume: CtVolume, label_map: LabelMap) -> None:
    if not volume.geometry.is_same_grid(label_map.geometry):
        raise ValueError("The label map does not lie on the grid of the volume.")


def _artery_of(labels: NDArray[np.uint8]) -> Artery | None:
    """Return the artery with most pixels, the proximal one in a tie; None where none is named."""
    counts = np.bincount(labels, minlength=CORONARY + 1)
    counts[CORONARY] = 0
    return Artery(int(counts.argmax())) if counts.any() else None
