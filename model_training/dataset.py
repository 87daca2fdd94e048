"""From a case to tensors: whole slices as serving sees them, and augmented crops to learn from.

Without augmentation every value comes from :mod:`calcium_scoring.model_input`, so that training and
serving see the same bits. With augmentation the crop is read straight from the scan's own pixels in
one interpolation of the same kind, at its own pose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.utils.data import Dataset

from calcium_scoring.model_input.intensity import hu_to_model_units
from calcium_scoring.model_input.preprocessing import (
    ModelArray,
    ModelInput,
    prepare_slices,
    slice_window,
    window_indices,
)
from calcium_scoring.model_input.spec import ARTERY_LABELS, CONFUSER_LABELS, ModelSpec
from calcium_scoring.phantom.structures import Structure
from calcium_scoring.volume.ct_volume import AIR_HU
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import BACKGROUND, Artery
from calcium_scoring.volume.resampling import in_plane_grid
from model_training.augmentation import (
    AugmentationConfig,
    Pose,
    jitter_hu,
    random_pose,
    random_slice_step,
)
from model_training.cases import TrainingCase
from model_training.losses import UNKNOWN_KIND

REFERENCE_CUT: Final = 0.3
"""Part of a pixel of the network's grid that calcium must cover (our choice): at 0.5 a lesion of
one pixel of 0.8 mm could fall between the pixels of the 0.7 mm grid and never be learned."""

BODY_HU: Final = -200.0
"""Our choice: a crop "anywhere in the body" is centred on a voxel above it."""

BODY_SLICE_STEP: Final = 8
"""The body is looked for in every so many slices (our choice): millions of voxels are enough."""

MAX_CENTRES: Final = 20_000
"""Voxels remembered of each kind and case (our choice); drawn at random where there are more."""

HARD_VOXELS_FILE: Final = "hard_voxels.npy"
"""(n, 3) indices of voxels that an earlier network got wrong, beside the arrays of a case."""

_KIND_OF_ARTERY: Final = {Artery[name].value: number for number, name in enumerate(ARTERY_LABELS)}
_AORTA, _VALVE, _OTHER = (
    len(ARTERY_LABELS) + CONFUSER_LABELS.index(name) for name in ("AORTA", "VALVE", "OTHER")
)
_KIND_OF_CONFUSER: Final = {
    Structure.AORTIC_WALL_CALCIUM: _AORTA,
    Structure.AORTIC_VALVE_CALCIUM: _VALVE,
    Structure.MITRAL_ANNULUS_CALCIUM: _VALVE,
}
"""Every other structure is OTHER."""


Source: TypeAlias = tuple[str, int]
"""What a crop is centred on: a name and, of lesions and confusers, which label."""

VoxelSets: TypeAlias = dict[Source, list[NDArray[np.int32]]]
"""Indices (n, 3) of voxels; a crop draws a set first, then a voxel of it."""


class Patch(TypedDict):
    """One example, or a batch of them with a leading axis.

    ``ct_patch`` is (slice, row, column) float32 in model units; ``reference`` (1, row, column)
    float32, 1 where coronary calcium is; ``kind`` (row, column) int64, which label after the first
    a dense pixel has, or ``UNKNOWN_KIND``; ``is_counted`` (1, row, column) bool, False where the
    loss shall not look; ``is_dense`` (1, row, column) bool, True at or above the calcium threshold.
    """

    ct_patch: torch.Tensor
    reference: torch.Tensor
    kind: torch.Tensor
    is_counted: torch.Tensor
    is_dense: torch.Tensor


@dataclass(frozen=True)
class SamplingConfig:
    """Where crops are taken and how large they are; our choice.

    The parts are probabilities of the kind of voxel a crop is centred on; what they leave to 1 is
    drawn anywhere in the body. A case without such voxels gives a dense or body crop instead.
    """

    crop_size: int = 128
    hard_part: float = 0.0
    """Voxels that an earlier network got wrong; counts only in cases where they were looked for."""
    calcium_part: float = 0.5
    confuser_part: float = 0.15
    """Structures known to be mistaken for calcium: valves, aortic wall, bronchi, metal."""
    dense_part: float = 0.2
    """Any other voxel at or above the calcium threshold: ribs, spine, sternum."""
    lesion_part: float = 0.5
    """Part of the crops around calcium for which a lesion is drawn first, then a voxel of it: a
    large lesion has a hundred times the voxels of a small one, and decides no more categories."""
    heart_margin_mm: float = 15.0
    """Where the heart is known, other voxels than calcium are drawn no farther from it."""
    outside_part: float = 0.1
    """Part of those that are drawn without this limit."""
    edge_tolerance_pixels: int = 1
    """Pixels below the threshold this near to calcium do not count: the threshold removes them."""
    counted_above_hu: float | None = None
    """Other pixels count from here on; None counts all. What is far below the calcium threshold
    is never calcium, whatever the network says, and would only fill the union of the IoU loss;
    the margin leaves room for the way back to the pixels of the scan."""

    def __post_init__(self) -> None:
        parts = (self.hard_part, self.calcium_part, self.confuser_part, self.dense_part)
        if min(parts) < 0.0 or sum(parts) > 1.0:
            raise ValueError(f"Parts must not be negative and sum to at most 1, not {parts}.")


def prepared_window(model_input: ModelInput, slice_index: int, spec: ModelSpec) -> ModelArray:
    """Return the ``ct_patch`` of a whole slice, the very array that serving feeds the network."""
    return slice_window(model_input.slices, slice_index, spec)


class WindowDataset(Dataset[Patch]):
    """Whole slices of a case without augmentation, one ``ct_patch`` a slice."""

    def __init__(self, case: TrainingCase, spec: ModelSpec) -> None:
        self.case = case
        self.spec = spec
        self.model_input = prepare_slices(case.load_volume(), spec)

    def __len__(self) -> int:
        """Return the number of slices."""
        return self.case.geometry.shape[0]

    def __getitem__(self, slice_index: int) -> Patch:
        """Return the window around a slice and its reference."""
        window = prepared_window(self.model_input, slice_index, self.spec)
        pose = Pose(scale=1.0, rotation_degrees=0.0, shift_mm=(0.0, 0.0))
        rows, columns = window.shape[1:]
        # The prepared array starts at the first pixel of its grid and is padded at the far side.
        centre = ((rows - 1) / 2.0, (columns - 1) / 2.0)
        placement = Placement(self.case.geometry, self.spec, centre, (rows, columns), pose)
        return _patch(window, self.case, slice_index, placement, None)


@dataclass(frozen=True)
class Placement:
    """Where a crop lies: its pixels as (row, column) of the scan.

    ``centre`` is the middle of the crop in pixels of the network's whole-slice grid.
    """

    geometry: VolumeGeometry
    spec: ModelSpec
    centre: tuple[float, float]
    shape: tuple[int, int]
    pose: Pose

    def to_scan(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the matrix (2, 2) and offset (2,) from crop pixels to pixels of the scan."""
        spacing_mm = self.spec.pixel_spacing_mm
        grid = in_plane_grid(self.geometry, spacing_mm)
        grid_to_scan = np.linalg.solve(self.geometry.affine, grid.affine)
        in_plane, origin = grid_to_scan[1:3, 1:3], grid_to_scan[1:3, 3]
        middle = (np.array(self.shape) - 1.0) / 2.0
        centre = np.array(self.centre) + np.array(self.pose.shift_mm) / spacing_mm
        matrix = in_plane @ self.pose.matrix
        return matrix, in_plane @ centre + origin - matrix @ middle

    def resample(
        self, values: NDArray[np.int16] | NDArray[np.float32], outside: float
    ) -> NDArray[np.float32]:
        """Read (row, column) values of the scan at the pixels of the crop, linearly."""
        matrix, offset = self.to_scan()
        crop = np.empty(self.shape, dtype=np.float32)
        ndimage.affine_transform(
            values,
            matrix,
            offset,
            output_shape=self.shape,
            output=crop,
            order=1,
            mode="constant",
            cval=outside,
            prefilter=False,
        )
        return crop


class CropSampler:
    """Draws crops of one case around calcium, around what is mistaken for it, and elsewhere."""

    def __init__(
        self,
        case: TrainingCase,
        spec: ModelSpec,
        sampling: SamplingConfig,
        augmentation: AugmentationConfig,
    ) -> None:
        self.case = case
        self.spec = spec
        self.sampling = sampling
        self.augmentation = augmentation
        # Which voxels are remembered must not depend on who else draws numbers.
        rng = np.random.default_rng(0)
        calcium = case.labels != BACKGROUND
        dense = (case.hu >= spec.threshold_hu) & ~calcium
        kinds = np.unique(case.confusers[dense])
        calcium_sets: VoxelSets = {
            ("hard", 0): [_hard_voxels(case)],
            ("calcium", 0): [_some_voxels(calcium, rng)],
            **_lesion_voxels(case.labels),
        }
        self._anywhere = _filled(calcium_sets | self._voxels_of(dense, kinds, None, rng))
        self._near = self._anywhere
        heart = case.heart
        if heart is not None and heart.any():
            box = box_near(heart, case.geometry, sampling.heart_margin_mm)
            near = widened(heart[box] > 0, case.geometry, sampling.heart_margin_mm)
            self._near = _filled(calcium_sets | self._voxels_of(dense, kinds, (box, near), rng))

    @property
    def sources(self) -> tuple[Source, ...]:
        """What crops of this case can be centred on, in a fixed order."""
        return tuple(sorted(self._anywhere))

    def voxels(self, source: Source) -> list[NDArray[np.int32]]:
        """Return the voxels to centre crops on, in sets of which one is drawn first."""
        return self._near.get(source, self._anywhere[source])

    def _voxels_of(
        self,
        dense: NDArray[np.bool_],
        kinds: NDArray[np.uint8],
        region: tuple[tuple[slice, slice, slice], NDArray[np.bool_]] | None,
        rng: np.random.Generator,
    ) -> VoxelSets:
        """Return voxels to centre crops on, within a box and a mask in it, or anywhere."""
        box, near = region or ((slice(None),) * 3, np.ones((1, 1, 1), dtype=np.bool_))
        corner = np.array([part.start or 0 for part in box], dtype=np.int32)
        dense, confusers = dense[box] & near, self.case.confusers[box]
        body = (self.case.hu[box] > BODY_HU) & near
        step = np.array([BODY_SLICE_STEP, 1, 1], dtype=np.int32)
        return {
            ("dense", 0): [_some_voxels(dense & (confusers == 0), rng) + corner],
            ("body", 0): [_some_voxels(body[::BODY_SLICE_STEP], rng) * step + corner],
            **{
                ("confuser", int(kind)): [_some_voxels(dense & (confusers == kind), rng) + corner]
                for kind in kinds
                if kind
            },
        }

    def draw(self, rng: np.random.Generator, source: Source | None = None) -> Patch:
        """Return a random crop; the same generator state gives the same crop.

        ``source`` is one of :attr:`sources`; None draws one.
        """
        slice_index, row, column = self.draw_centre(rng, source)
        pose = random_pose(self.augmentation, rng)
        to_grid = np.linalg.solve(
            in_plane_grid(self.case.geometry, self.spec.pixel_spacing_mm).affine,
            self.case.geometry.affine,
        )
        grid_index = to_grid @ np.array([slice_index, row, column, 1.0])
        size = self.sampling.crop_size
        placement = Placement(
            self.case.geometry,
            self.spec,
            (float(grid_index[1]), float(grid_index[2])),
            (size, size),
            pose,
        )
        step = random_slice_step(
            self.augmentation, self.case.geometry.spacing_between_slices_mm, rng
        )
        neighbours = window_indices(
            slice_index, self.case.hu.shape[0], self.spec.slice_count, step=step
        )
        # Each slice once: at an end of the scan the edge slice is repeated in the window.
        planes = {k: placement.resample(self.case.hu[k], AIR_HU) for k in set(neighbours.tolist())}
        hu = jitter_hu(np.stack([planes[int(k)] for k in neighbours]), self.augmentation, rng)
        window = hu_to_model_units(hu, self.spec.hu_range)
        return _patch(window, self.case, slice_index, placement, self.sampling)

    def draw_centre(
        self, rng: np.random.Generator, source: Source | None = None
    ) -> tuple[int, int, int]:
        """Return the voxel (slice, row, column) that a random crop is centred on."""
        if source is None:
            source = draw_source(self.sources, self.sampling, rng)
        is_anywhere = rng.uniform() < self.sampling.outside_part
        sets = self._anywhere[source] if is_anywhere else self.voxels(source)
        chosen = sets[rng.integers(len(sets))]
        slice_index, row, column = chosen[rng.integers(len(chosen))].tolist()
        return slice_index, row, column


def draw_source(
    sources: Sequence[Source], sampling: SamplingConfig, rng: np.random.Generator
) -> Source:
    """Draw what a crop is centred on: a name by its part, then a label of that name.

    Each artery and each kind of confuser is as likely as any other of its name, however rare it is
    among the cases. A name that no case holds gives way to dense voxels, these to the body.
    """
    bounds = np.cumsum(
        [sampling.hard_part, sampling.calcium_part, sampling.confuser_part, sampling.dense_part]
    )
    name = ("hard", "calcium", "confuser", "dense", "body")[
        int(np.searchsorted(bounds, rng.uniform(), side="right"))
    ]
    if name == "calcium" and rng.uniform() < sampling.lesion_part:
        name = "lesion"
    for candidate in (name, "dense", "body"):
        offered = [source for source in sources if source[0] == candidate]
        if offered:
            return offered[rng.integers(len(offered))]
    raise ValueError(f"The cases hold nothing above {BODY_HU} HU.")


class CropDataset(Dataset[Patch]):
    """``length`` crops; crop ``index`` is always the same for one seed.

    What a crop is centred on is drawn first, then a case that holds it: a rare confuser is learned
    as often as a common one.
    """

    def __init__(
        self,
        cases: Sequence[TrainingCase],
        spec: ModelSpec,
        sampling: SamplingConfig,
        augmentation: AugmentationConfig,
        *,
        seed: int,
        length: int,
    ) -> None:
        self._samplers = [CropSampler(case, spec, sampling, augmentation) for case in cases]
        self._holders: dict[Source, list[int]] = {}
        for number, sampler in enumerate(self._samplers):
            for source in sampler.sources:
                self._holders.setdefault(source, []).append(number)
        self._sources = sorted(self._holders)
        self._sampling = sampling
        self._seed = seed
        self._length = length

    def __len__(self) -> int:
        """Return the number of crops."""
        return self._length

    def __getitem__(self, index: int) -> Patch:
        """Return crop ``index``, whoever asks for it and in whatever order."""
        rng = np.random.default_rng((self._seed, index))
        source = draw_source(self._sources, self._sampling, rng)
        holders = self._holders[source]
        return self._samplers[holders[rng.integers(len(holders))]].draw(rng, source)


def _some_voxels(where: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int32]:
    flat = np.flatnonzero(where)
    if len(flat) > MAX_CENTRES:
        flat = rng.choice(flat, MAX_CENTRES, replace=False)
    return np.stack(np.unravel_index(flat, where.shape), axis=1).astype(np.int32)


def _filled(sets: VoxelSets) -> VoxelSets:
    """Return the sources that have voxels, without their empty sets."""
    filled = {
        source: [voxels for voxels in of_source if len(voxels)]
        for source, of_source in sets.items()
    }
    return {source: of_source for source, of_source in filled.items() if of_source}


def _hard_voxels(case: TrainingCase) -> NDArray[np.int32]:
    path = case.folder / HARD_VOXELS_FILE
    if not path.is_file():
        return np.empty((0, 3), dtype=np.int32)
    voxels: NDArray[np.int32] = np.load(path)
    return voxels


def _lesion_voxels(labels: NDArray[np.uint8]) -> VoxelSets:
    """Return the voxels of each lesion by label; voxels that touch by a corner belong together."""
    lesions: VoxelSets = {}
    for label in np.unique(labels[labels != BACKGROUND]):
        voxels = np.argwhere(labels == label).astype(np.int32)
        low = voxels.min(axis=0)
        box = tuple(slice(*bounds) for bounds in zip(low, voxels.max(axis=0) + 1, strict=True))
        numbers, _ = ndimage.label(labels[box] == label, structure=np.ones((3, 3, 3), np.bool_))
        of_voxel = numbers[tuple((voxels - low).T)]
        lesions["lesion", int(label)] = [
            voxels[of_voxel == number] for number in np.unique(of_voxel)
        ]
    return lesions


def box_near(
    mask: NDArray[np.uint8] | NDArray[np.bool_], geometry: VolumeGeometry, margin_mm: float
) -> tuple[slice, slice, slice]:
    """Return the box around what is marked, wider by a margin on every side."""
    bounds = []
    for axis, spacing_mm in enumerate(geometry.spacing_mm):
        others = tuple(other for other in range(3) if other != axis)
        inside = np.flatnonzero(mask.any(axis=others))
        margin = round(margin_mm / spacing_mm)
        bounds.append(slice(max(0, int(inside[0]) - margin), int(inside[-1]) + margin + 1))
    return bounds[0], bounds[1], bounds[2]


def widened(
    mask: NDArray[np.bool_], geometry: VolumeGeometry, margin_mm: float
) -> NDArray[np.bool_]:
    """Return a mask that reaches farther by a margin along every axis."""
    # One axis after the other takes a moment; a ball of this size would take minutes.
    for axis, spacing_mm in enumerate(geometry.spacing_mm):
        mask = ndimage.maximum_filter1d(mask, 2 * round(margin_mm / spacing_mm) + 1, axis=axis)
    return mask


def _patch(
    window: ModelArray,
    case: TrainingCase,
    slice_index: int,
    placement: Placement,
    sampling: SamplingConfig | None,
) -> Patch:
    """Return window and reference of a crop; without sampling settings every pixel counts."""
    spec = placement.spec
    middle = window[spec.slice_count // 2]
    is_dense = _is_above(middle, spec.threshold_hu, spec)
    labels = np.asarray(case.labels[slice_index])
    coverage = placement.resample((labels != BACKGROUND).astype(np.float32), 0.0)
    calcium: NDArray[np.bool_] = coverage >= REFERENCE_CUT
    is_counted = np.ones(placement.shape, dtype=np.bool_)
    if sampling is not None:
        if sampling.counted_above_hu is not None:
            is_counted = calcium | _is_above(middle, sampling.counted_above_hu, spec)
        if sampling.edge_tolerance_pixels and calcium.any():
            near = ndimage.binary_dilation(
                calcium, np.ones((3, 3), dtype=np.bool_), iterations=sampling.edge_tolerance_pixels
            )
            is_counted[near & ~calcium & ~is_dense] = False
        # Too little calcium to be learned as such, and too much to be learned as none.
        is_counted[(coverage > 0.0) & ~calcium] = False
    kind = np.full(placement.shape, UNKNOWN_KIND, dtype=np.int64)
    if spec.has_artery_labels:
        kind = _kinds(case, slice_index, placement, is_dense=is_dense, calcium=calcium)
    return Patch(
        # A copy: the prepared slices are read-only, which torch cannot express.
        ct_patch=torch.from_numpy(np.array(window)),
        reference=torch.from_numpy(calcium[np.newaxis].astype(np.float32)),
        kind=torch.from_numpy(kind),
        is_counted=torch.from_numpy(is_counted[np.newaxis]),
        is_dense=torch.from_numpy(is_dense[np.newaxis]),
    )


def _kinds(
    case: TrainingCase,
    slice_index: int,
    placement: Placement,
    *,
    is_dense: NDArray[np.bool_],
    calcium: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Return what each dense pixel of a crop is, as far as the case knows."""
    kind = np.full(placement.shape, UNKNOWN_KIND, dtype=np.int64)
    labels = np.asarray(case.labels[slice_index])
    confusers = np.asarray(case.confusers[slice_index])
    if case.are_confusers_complete:
        kind[is_dense] = _OTHER
        # The rim of what has a name is often dense too, and nothing else.
        named = ((labels > 0) | (confusers > 0)).astype(np.float32)
        kind[placement.resample(named, 0.0) > 0.0] = UNKNOWN_KIND
    for value in np.unique(confusers[confusers > 0]):
        where = is_dense & _resampled(confusers == value, placement)
        kind[where] = _KIND_OF_CONFUSER.get(Structure(int(value)), _OTHER)
    # An artery without a name (CORONARY) leaves its pixels unknown.
    kind[calcium] = UNKNOWN_KIND
    for value in np.unique(labels[labels > 0]):
        number = _KIND_OF_ARTERY.get(int(value))
        if number is not None:
            kind[calcium & _resampled(labels == value, placement)] = number
    return kind


def _resampled(mask: NDArray[np.bool_], placement: Placement) -> NDArray[np.bool_]:
    if not mask.any():
        return np.zeros(placement.shape, dtype=np.bool_)
    covered: NDArray[np.bool_] = placement.resample(mask.astype(np.float32), 0.0) >= REFERENCE_CUT
    return covered


def _is_above(middle_slice: ModelArray, threshold_hu: float, spec: ModelSpec) -> NDArray[np.bool_]:
    threshold = hu_to_model_units(np.array([threshold_hu], np.float32), spec.hu_range)
    above: NDArray[np.bool_] = middle_slice >= threshold
    return above
