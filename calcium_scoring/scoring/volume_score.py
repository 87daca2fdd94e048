"""Volume score, in two variants with two names.

The plain one counts voxels of calcium and multiplies by the volume of a voxel. The interpolated
one follows Callister et al., Radiology 1998;208:807-814, doi 10.1148/radiology.208.3.9722864:
attenuation is interpolated linearly between slices to about the size of a pixel, and the finer
voxels that reach the threshold are counted. It depends less on where the slices lie.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from calcium_scoring.scoring.lesions import Lesion, SliceLesion, is_calcium
from calcium_scoring.scoring.protocol import ScoringProtocol
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry

OwnerArray = NDArray[np.intp]


def volume_score_mm3(lesions: Iterable[SliceLesion], *, voxel_volume_mm3: float) -> float:
    """Return the volume in mm3 of all voxels that belong to the lesions, not interpolated."""
    return sum(lesion.pixel_count for lesion in lesions) * voxel_volume_mm3


def slices_between(geometry: VolumeGeometry) -> int:
    """Return into how many parts a gap between slices is divided: the nearest to a pixel's size.

    The size of a pixel that is not square is the square root of its area.
    """
    size_mm = sqrt(geometry.pixel_area_mm2)
    return max(1, round(geometry.spacing_between_slices_mm / size_mm))


def interpolated_volumes_mm3(
    lesions: Sequence[Lesion], volume: CtVolume, protocol: ScoringProtocol
) -> dict[int, float]:
    """Return the interpolated volume of each lesion, by ``lesion_id``; they add up to the total.

    Each gap between two slices is sampled at the centres of :func:`slices_between` equal parts,
    so that a flip changes nothing. A sample counts where its interpolated attenuation reaches
    the threshold and the pixel belongs to a lesion in one of the two slices: to that of the
    nearer slice, or else to that of the other. Beside a voxel that is dense but no calcium
    (bone, a stent) a lesion reaches half way, not further. Beyond the first and last slice of
    the scan there is nothing to interpolate: half a slice with the values of that slice counts.

    Parameters
    ----------
    lesions
        As :func:`calcium_scoring.scoring.lesions.find_lesions` gives them.
    volume, protocol
        Those in which the lesions were found.
    """
    if not lesions:
        return {}
    owners = _Owners(lesions)
    parts = slices_between(volume.geometry)
    position = (np.arange(parts) + 0.5) / parts
    counts = np.zeros(owners.count, dtype=np.float64)
    last = volume.geometry.shape[0] - 1
    for index in owners.gaps():
        lower, upper = owners.of_slice(index), owners.of_slice(index + 1)
        if index < 0 or index == last:
            inner = upper if index < 0 else lower
            counts += 0.5 * parts * np.bincount(inner.ravel(), minlength=owners.count)
            continue
        touched = (lower > 0) | (upper > 0)
        pair_hu = np.stack(
            [volume.hu[index][owners.box][touched], volume.hu[index + 1][owners.box][touched]]
        ).astype(np.float64)
        samples = _owner_of_samples(
            np.stack([lower[touched], upper[touched]]), pair_hu, position, protocol
        )
        counts += np.bincount(samples.ravel(), minlength=owners.count)
    unit_mm3 = volume.geometry.voxel_volume_mm3 / parts
    return {
        lesion.lesion_id: float(counts[number]) * unit_mm3
        for number, lesion in enumerate(lesions, start=1)
    }


class _Owners:
    """Which lesion a pixel belongs to, slice by slice: 0 is none, lesions count from 1."""

    def __init__(self, lesions: Sequence[Lesion]) -> None:
        self._parts: dict[int, list[tuple[int, SliceLesion]]] = {}
        for number, lesion in enumerate(lesions, start=1):
            for part in lesion.slice_lesions:
                self._parts.setdefault(part.slice_index, []).append((number, part))
        pixels = np.concatenate(
            [part.pixels for lesion in lesions for part in lesion.slice_lesions], axis=1
        )
        self._first = pixels.min(axis=1)
        self._shape = tuple(int(size) for size in pixels.max(axis=1) - self._first + 1)
        (row, column), (rows, columns) = self._first, self._shape
        self.box = np.s_[row : row + rows, column : column + columns]
        self.count = len(lesions) + 1

    def gaps(self) -> list[int]:
        """Return the lower slice of every gap that has calcium beside it; -1 is below the scan."""
        return sorted({gap for index in self._parts for gap in (index - 1, index)})

    def of_slice(self, slice_index: int) -> OwnerArray:
        """Return the owners of a slice within the box; no calcium where there is no slice."""
        owners = np.zeros(self._shape, dtype=np.intp)
        for number, part in self._parts.get(slice_index, ()):
            rows, columns = part.pixels - self._first[:, np.newaxis]
            owners[rows, columns] = number
        return owners


def _owner_of_samples(
    pair: OwnerArray,
    pair_hu: NDArray[np.float64],
    position: NDArray[np.float64],
    protocol: ScoringProtocol,
) -> OwnerArray:
    """Return the lesion of each sample (pixel, position), 0 where it is no calcium.

    ``pair`` and ``pair_hu`` are (2, pixel): below and above the gap.
    """
    (lower, upper), (below_hu, above_hu) = pair[..., np.newaxis], pair_hu[..., np.newaxis]
    hu = below_hu + (above_hu - below_hu) * position
    is_nearer_lower = position <= 0.5
    nearer = np.where(is_nearer_lower, lower, upper)
    farther = np.where(is_nearer_lower, upper, lower)
    nearer_hu = np.where(is_nearer_lower, below_hu, above_hu)
    is_dense_but_no_calcium = (nearer == 0) & is_calcium(nearer_hu, protocol)
    # Exactly half way neither slice is nearer: the sample may be either's.
    reachable = ~is_dense_but_no_calcium | (position == 0.5)
    owner = np.where(nearer > 0, nearer, np.where(reachable, farther, 0))
    return np.where(is_calcium(hu, protocol), owner, 0)
