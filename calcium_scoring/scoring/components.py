"""What became of every dense voxel: counted in a lesion, or left out, and why.

The voxels of the searched part of a scan that reach the threshold fall into two groups: those of
the lesions of the report, which make the score, and the others. The others are joined to
components, within a slice as the protocol joins pixels, and from slice to slice where they share a
pixel position, as lesions are. Each has one reason why it is not in the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from calcium_scoring.scoring.agatston import agatston_score
from calcium_scoring.scoring.lesions import Lesion, find_lesions, is_calcium
from calcium_scoring.scoring.protocol import ScoringProtocol
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.label_map import CORONARY, LabelMap
from calcium_scoring.volume.searched_voxels import SearchedPart, SearchedVoxels

IndexArray = NDArray[np.intp]
Offset = tuple[int, int, int]

_IN_PLANE: Final[dict[int, tuple[Offset, ...]]] = {
    4: ((0, 0, 1), (0, 1, 0)),
    8: ((0, 0, 1), (0, 1, -1), (0, 1, 0), (0, 1, 1)),
}
"""Neighbours (slice, row, column) within a slice; each pair once."""
_NEXT_SLICE: Final[Offset] = (1, 0, 0)


class RejectionReason(StrEnum):
    """Why dense voxels are not in the score; where several apply, the first one."""

    EDGE_OF_REGION = "edge_of_region"
    """Large enough to count, and it goes on beyond the searched part, as bone does."""
    RIM_OF_LESION = "rim_of_lesion"
    """It touches a lesion of the report within a slice, and the mask ends between them."""
    TOO_SMALL = "too_small"
    """The protocol would make no lesion of it: it is smaller than the smallest."""
    BELOW_PROBABILITY = "below_probability"
    """The network does not take it for coronary calcium."""
    OUTSIDE_MASK = "outside_mask"
    """It is not in the mask, and no network was asked."""


@dataclass(frozen=True)
class ModelOpinion:
    """What the network said of some voxels.

    ``kind`` is what it calls most of them, and ``kind_share`` how many of them (0 to 1); both None
    where it names nothing.
    """

    mean_probability: float
    max_probability: float
    kind: str | None
    kind_share: float | None


@dataclass(frozen=True)
class KeptComponent:
    """A lesion of the report and what the network said of its voxels (None: none was asked)."""

    lesion_id: int
    voxel_count: int
    opinion: ModelOpinion | None


@dataclass(frozen=True)
class RejectedComponent:
    """Connected dense voxels that are not in the score.

    ``area_mm2`` is summed over slices, ``largest_area_mm2`` that of its largest region within a
    slice. ``agatston_score`` is what it would score by itself, were it in the mask.
    ``marked_voxel_count`` are voxels that are in the mask and yet in no lesion, because their
    region within the slice is too small. ``component_id`` counts from 1, the highest score first.
    """

    component_id: int
    reason: RejectionReason
    first_slice_index: int
    last_slice_index: int
    centroid_index: tuple[float, float, float]
    voxel_count: int
    area_mm2: float
    largest_area_mm2: float
    volume_mm3: float
    peak_hu: float
    mean_hu: float
    agatston_score: float
    marked_voxel_count: int
    touched_lesion_ids: tuple[int, ...]
    continues_outside: bool
    opinion: ModelOpinion | None


@dataclass(frozen=True, eq=False)
class ComponentAccount:
    """Every dense voxel of the searched part, once: in ``kept`` or in ``rejected``."""

    part: SearchedPart
    threshold_hu: float
    voxel_count: int
    kept: tuple[KeptComponent, ...]
    rejected: tuple[RejectedComponent, ...]

    @property
    def kept_voxel_count(self) -> int:
        """Voxels in the lesions of the report."""
        return sum(component.voxel_count for component in self.kept)

    @property
    def rejected_voxel_count(self) -> int:
        """Voxels that are not in the score."""
        return sum(component.voxel_count for component in self.rejected)


def account_for_components(
    volume: CtVolume,
    label_map: LabelMap,
    lesions: Sequence[Lesion],
    voxels: SearchedVoxels,
    protocol: ScoringProtocol,
) -> ComponentAccount:
    """Say of every dense voxel that was searched whether it counts, and why if it does not.

    Parameters
    ----------
    volume, label_map
        The scan and its mask, on one grid.
    lesions
        What was measured on them under ``protocol``.
    voxels
        The dense voxels of the searched part; those below the threshold of the protocol are left
        out of the account. Every voxel of a lesion must be among them.
    """
    is_dense = is_calcium(volume.hu.ravel()[voxels.indices], protocol)
    dense = voxels.indices[is_dense]
    positions = np.flatnonzero(is_dense)
    lesion_of = np.zeros(dense.size, dtype=np.intp)
    kept = []
    for lesion in lesions:
        at = _find(dense, _flat(lesion, volume.geometry.shape))
        if (at < 0).any():
            raise ValueError(f"Lesion {lesion.lesion_id} has voxels that were not searched.")
        lesion_of[at] = lesion.lesion_id
        kept.append(KeptComponent(lesion.lesion_id, at.size, _opinion(voxels, positions[at])))
    rejected = _Rejected(
        volume=volume,
        label_map=label_map,
        voxels=voxels,
        protocol=protocol,
        dense=dense,
        positions=positions,
        lesion_of=lesion_of,
    )
    return ComponentAccount(
        part=voxels.part,
        threshold_hu=protocol.threshold_hu,
        voxel_count=int(dense.size),
        kept=tuple(kept),
        rejected=rejected.components(),
    )


class _Rejected:
    """The components of the dense voxels that are in no lesion."""

    def __init__(
        self,
        *,
        volume: CtVolume,
        label_map: LabelMap,
        voxels: SearchedVoxels,
        protocol: ScoringProtocol,
        dense: IndexArray,
        positions: IndexArray,
        lesion_of: IndexArray,
    ) -> None:
        self._geometry = volume.geometry
        self._shape = volume.geometry.shape
        self._hu = volume.hu.ravel()
        self._labels = label_map.labels.ravel()
        self._voxels = voxels
        self._protocol = protocol
        self._in_plane = _IN_PLANE[protocol.in_plane_connectivity]
        is_left = lesion_of == 0
        self._dense, self._lesion_of = dense, lesion_of
        self._left, self._positions = dense[is_left], positions[is_left]
        within = _pairs(self._left, self._shape, self._in_plane)
        between = _pairs(self._left, self._shape, (_NEXT_SLICE,))
        count = self._left.size
        self._region = _connected(count, within)
        self._component = _connected(count, np.concatenate([within, between], axis=1))

    def components(self) -> tuple[RejectedComponent, ...]:
        touched = self._touched_lesions()
        outside = self._continue_outside()
        found = [
            self._describe(members, touched, outside)
            for members in _grouped(np.arange(self._left.size), self._component)
        ]
        found.sort(key=lambda one: (-one.agatston_score, -one.area_mm2, one.centroid_index))
        return tuple(
            RejectedComponent(**{**vars(one), "component_id": number})
            for number, one in enumerate(found, start=1)
        )

    def _describe(
        self,
        members: IndexArray,
        touched: dict[int, set[int]],
        outside: NDArray[np.bool_],
    ) -> RejectedComponent:
        flat = self._left[members]
        hu = self._hu[flat].astype(np.float64)
        slices, rows, columns = np.unravel_index(flat, self._shape)
        regions = _grouped(members, self._region[members])
        lesions = self._lesions_of(members)
        opinion = _opinion(self._voxels, self._positions[members])
        touched_ids = tuple(sorted(touched.get(int(self._component[members[0]]), ())))
        continues = bool(outside[members].any())
        pixel_area_mm2 = self._geometry.pixel_area_mm2
        return RejectedComponent(
            component_id=0,
            reason=_reason(
                touches=bool(touched_ids),
                is_small=not lesions,
                continues=continues,
                was_judged=opinion is not None,
            ),
            first_slice_index=int(slices[0]),
            last_slice_index=int(slices[-1]),
            centroid_index=(float(slices.mean()), float(rows.mean()), float(columns.mean())),
            voxel_count=int(flat.size),
            area_mm2=flat.size * pixel_area_mm2,
            largest_area_mm2=max(one.size for one in regions) * pixel_area_mm2,
            volume_mm3=flat.size * self._geometry.voxel_volume_mm3,
            peak_hu=float(hu.max()),
            mean_hu=float(hu.mean()),
            agatston_score=agatston_score(
                [part for lesion in lesions for part in lesion.slice_lesions],
                self._protocol,
                spacing_between_slices_mm=self._geometry.spacing_between_slices_mm,
            ),
            marked_voxel_count=int(np.count_nonzero(self._labels[flat])),
            touched_lesion_ids=touched_ids,
            continues_outside=continues,
            opinion=opinion,
        )

    def _lesions_of(self, members: IndexArray) -> list[Lesion]:
        """Return the lesions that the protocol would make of a component, were it in the mask."""
        index = np.stack(np.unravel_index(self._left[members], self._shape))
        first, last = index.min(axis=1), index.max(axis=1)
        slices, rows, columns = (
            slice(int(low), int(high) + 1) for low, high in zip(first, last, strict=True)
        )
        box = slices, rows, columns
        geometry = self._geometry.cropped(box)
        labels = np.zeros(geometry.shape, dtype=np.uint8)
        labels[tuple(index - first[:, np.newaxis])] = CORONARY
        part = CtVolume(geometry, self._hu.reshape(self._shape)[box])
        return find_lesions(part, LabelMap(geometry, labels), self._protocol)

    def _touched_lesions(self) -> dict[int, set[int]]:
        """Return for each component the lesions that it touches within a slice."""
        touched: dict[int, set[int]] = {}
        first, second = _pairs(self._dense, self._shape, self._in_plane)
        for one, other in ((first, second), (second, first)):
            meets = (self._lesion_of[one] == 0) & (self._lesion_of[other] != 0)
            at = np.searchsorted(self._left, self._dense[one[meets]])
            for component, lesion in zip(
                self._component[at].tolist(), self._lesion_of[other[meets]].tolist(), strict=True
            ):
                touched.setdefault(component, set()).add(lesion)
        return touched

    def _continue_outside(self) -> NDArray[np.bool_]:
        """Tell for each voxel whether a dense neighbour of it lies outside the searched part."""
        found = np.zeros(self._left.size, dtype=np.bool_)
        if self._voxels.part is not SearchedPart.HEART_REGION:
            return found
        for offset in (*self._in_plane, _NEXT_SLICE):
            for sign in (1, -1):
                at, neighbour = _neighbours(
                    self._left, self._shape, tuple(sign * step for step in offset)
                )
                is_dense = is_calcium(self._hu[neighbour], self._protocol)
                found[at[is_dense & (_find(self._dense, neighbour) < 0)]] = True
        return found


def _reason(*, touches: bool, is_small: bool, continues: bool, was_judged: bool) -> RejectionReason:
    if continues and not is_small:
        return RejectionReason.EDGE_OF_REGION
    if touches:
        return RejectionReason.RIM_OF_LESION
    if is_small:
        return RejectionReason.TOO_SMALL
    return RejectionReason.BELOW_PROBABILITY if was_judged else RejectionReason.OUTSIDE_MASK


def _opinion(voxels: SearchedVoxels, positions: IndexArray) -> ModelOpinion | None:
    """Summarise what a network said of the voxels at these positions of the list."""
    if voxels.probabilities is None:
        return None
    probabilities = voxels.probabilities[positions].astype(np.float64)
    kind, share = None, None
    if voxels.kinds is not None:
        counts = np.bincount(voxels.kinds[positions], minlength=len(voxels.kind_names))
        kind = voxels.kind_names[int(counts.argmax())]
        share = float(counts.max() / positions.size)
    return ModelOpinion(float(probabilities.mean()), float(probabilities.max()), kind, share)


def _grouped(members: IndexArray, group_of: IndexArray) -> list[IndexArray]:
    """Split members by their group; they keep their order within it."""
    if not members.size:
        return []
    order = np.argsort(group_of, kind="stable")
    starts = np.flatnonzero(np.diff(group_of[order]))
    return np.split(members[order], starts + 1)


def _flat(lesion: Lesion, shape: Offset) -> IndexArray:
    return np.concatenate(
        [
            np.ravel_multi_index((np.full(part.pixel_count, part.slice_index), *part.pixels), shape)
            for part in lesion.slice_lesions
        ]
    )


def _find(ascending: IndexArray, wanted: IndexArray) -> IndexArray:
    """Return where each wanted value stands in an ascending list, -1 where it does not."""
    if not ascending.size:
        return np.full(wanted.shape, -1, dtype=np.intp)
    at = np.minimum(np.searchsorted(ascending, wanted), ascending.size - 1)
    return np.where(ascending[at] == wanted, at, -1)


def _neighbours(
    flat: IndexArray, shape: Offset, offset: tuple[int, ...]
) -> tuple[IndexArray, IndexArray]:
    """Return positions in the list whose neighbour lies in the grid, and that neighbour."""
    inside = np.ones(flat.size, dtype=np.bool_)
    moved = []
    for values, step, size in zip(np.unravel_index(flat, shape), offset, shape, strict=True):
        moved.append(values + step)
        inside &= (moved[-1] >= 0) & (moved[-1] < size)
    at = np.flatnonzero(inside)
    return at, np.ravel_multi_index(tuple(values[at] for values in moved), shape)


def _pairs(flat: IndexArray, shape: Offset, offsets: Sequence[Offset]) -> IndexArray:
    """Return (2, n): positions in the list of voxels that are neighbours."""
    pairs = [np.empty((2, 0), dtype=np.intp)]
    for offset in offsets:
        at, neighbour = _neighbours(flat, shape, offset)
        other = _find(flat, neighbour)
        pairs.append(np.stack([at[other >= 0], other[other >= 0]]))
    return np.concatenate(pairs, axis=1)


def _connected(count: int, pairs: IndexArray) -> IndexArray:
    """Return for each of ``count`` voxels the number of its connected part, from 0."""
    if not count:
        return np.empty(0, dtype=np.intp)
    graph = coo_array((np.ones(pairs.shape[1], dtype=np.bool_), tuple(pairs)), shape=(count, count))
    _, numbers = connected_components(graph, directed=False)
    return np.asarray(numbers, dtype=np.intp)
