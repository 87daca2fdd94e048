"""What the voxels are that a model calls coronary calcium: calcium, or what it mistook for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calcium_scoring.phantom.structures import Structure
from calcium_scoring.scoring.agatston import agatston_score
from calcium_scoring.scoring.lesions import SliceLesion
from calcium_scoring.scoring.protocol import ScoringProtocol
from calcium_scoring.volume.label_map import MaskArray

CALCIUM: Final = "coronary calcium"
RIM: Final = "rim of coronary calcium"
"""Voxels that touch calcium of the reference, also by a corner, and are no other known thing."""
IN_HEART: Final = "elsewhere in the heart"
OUTSIDE_HEART: Final = "elsewhere outside of the heart"
ELSEWHERE: Final = "elsewhere"
"""Where the heart is not known: bone, vessels, noise."""

KIND_NAMES: Final = {
    int(kind): kind.name.lower().replace("_", " ")
    for kind in Structure
    if kind is not Structure.NONE
}
"""Names of the values of ``confusers``."""

SOURCES: Final = (CALCIUM, RIM, *KIND_NAMES.values(), IN_HEART, OUTSIDE_HEART, ELSEWHERE)

AORTIC_AND_MITRAL: Final = tuple(
    KIND_NAMES[kind]
    for kind in (
        Structure.AORTIC_WALL_CALCIUM,
        Structure.AORTIC_VALVE_CALCIUM,
        Structure.MITRAL_ANNULUS_CALCIUM,
    )
)
"""The calcium that is most often mistaken for that of a coronary artery."""

_TOUCHING: Final = np.ones((3, 3, 3), dtype=np.bool_)


@dataclass(frozen=True)
class SourceCounts:
    """What a model made of one kind of voxel in one scan.

    ``dense_voxels`` counts those at or above the threshold, None where the kind has no extent of
    its own (whatever lies elsewhere); ``marked_voxels`` those of them that the model calls coronary
    calcium; ``agatston_score`` is what they add to its score.
    """

    dense_voxels: int | None
    marked_voxels: int
    agatston_score: float


def count_sources(
    found: MaskArray,
    calcium: MaskArray,
    dense: MaskArray,
    found_lesions: Sequence[SliceLesion],
    *,
    confusers: NDArray[np.uint8] | None,
    heart: NDArray[np.uint8] | None,
    protocol: ScoringProtocol,
    spacing_between_slices_mm: float,
) -> dict[str, SourceCounts]:
    """Return the counts of each source that the scan holds or the model marks.

    The score of a slice lesion is shared out among its pixels, so that the scores of all sources
    sum to that of the model.

    Parameters
    ----------
    found, calcium
        (slice, row, column): what the model and the reference call coronary calcium, at or above
        the threshold.
    dense
        Every voxel at or above the threshold.
    found_lesions
        Slice lesions of the model that count for its score.
    confusers, heart
        Kinds of other dense things and the inside of the heart (0 or 1), None where not known.
    protocol, spacing_between_slices_mm
        Of the score.
    """
    kinds = np.zeros(found.shape, dtype=np.uint8) if confusers is None else np.asarray(confusers)
    # Not np.unique: it would sort every voxel.
    unknown = set(np.flatnonzero(np.bincount(kinds.ravel())).tolist()) - {0, *KIND_NAMES}
    if unknown:
        raise ValueError(
            f"Confusers hold the values {sorted(unknown)}; known are {sorted(KIND_NAMES)}."
        )
    numbers = _source_numbers(found, calcium, kinds, heart)
    marked = np.bincount(numbers[found], minlength=len(SOURCES))
    scores = np.zeros(len(SOURCES))
    for lesion in found_lesions:
        score = agatston_score(
            [lesion], protocol, spacing_between_slices_mm=spacing_between_slices_mm
        )
        of_pixels = numbers[lesion.slice_index][lesion.pixels[0], lesion.pixels[1]]
        scores += score / lesion.pixel_count * np.bincount(of_pixels, minlength=len(SOURCES))
    dense_of_kind = np.bincount(kinds[dense & ~calcium], minlength=max(KIND_NAMES) + 1)
    extents: dict[str, int | None] = dict.fromkeys(SOURCES)
    extents[CALCIUM] = int(np.count_nonzero(calcium))
    extents.update({name: int(dense_of_kind[kind]) for kind, name in KIND_NAMES.items()})
    return {
        name: SourceCounts(extents[name], int(marked[number]), float(scores[number]))
        for number, name in enumerate(SOURCES)
        if extents[name] or marked[number]
    }


def _source_numbers(
    found: MaskArray,
    calcium: MaskArray,
    kinds: NDArray[np.uint8],
    heart: NDArray[np.uint8] | None,
) -> NDArray[np.uint8]:
    """Return the place in ``SOURCES`` of every voxel that the model marks; 0 elsewhere."""
    number_of_kind = np.zeros(max(KIND_NAMES) + 1, dtype=np.uint8)
    for kind, name in KIND_NAMES.items():
        number_of_kind[kind] = SOURCES.index(name)
    places = np.nonzero(found)
    numbers = number_of_kind[kinds[places]]
    unnamed = numbers == 0
    if heart is None:
        numbers[unnamed] = SOURCES.index(ELSEWHERE)
    else:
        inside = np.asarray(heart)[places] > 0
        numbers[unnamed & inside] = SOURCES.index(IN_HEART)
        numbers[unnamed & ~inside] = SOURCES.index(OUTSIDE_HEART)
    is_rim = _widened(calcium)[places]
    numbers[unnamed & is_rim] = SOURCES.index(RIM)
    numbers[calcium[places]] = SOURCES.index(CALCIUM)
    volume_numbers = np.zeros(found.shape, dtype=np.uint8)
    volume_numbers[places] = numbers
    return volume_numbers


def _widened(mask: MaskArray) -> MaskArray:
    """Return a mask and all that touches it; only its surroundings are gone through."""
    widened = mask.copy()
    for box in ndimage.find_objects(mask.view(np.uint8)):
        near = tuple(slice(max(0, part.start - 1), part.stop + 1) for part in box)
        widened[near] = ndimage.binary_dilation(mask[near], _TOUCHING)
    return widened
