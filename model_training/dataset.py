"""From a case to tensors: whole slices as serving sees them, and augmented crops to learn from.

Without augmentation every value comes from :mod:`calcium_scoring.model_input`, so that training and
serving see the same bits. With augmentation the crop is read straight from the scan's own pixels in
one interpolation of the same kind, at its own pose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypedDict

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
from calcium_scoring.model_input.spec import ModelSpec
from calcium_scoring.volume.ct_volume import AIR_HU
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import BACKGROUND, Artery
from calcium_scoring.volume.resampling import in_plane_grid
from model_training.augmentation import AugmentationConfig, Pose, jitter_hu, random_pose
from model_training.cases import TrainingCase

REFERENCE_CUT: Final = 0.3
"""Part of a pixel of the network's grid that calcium must cover (our choice): at 0.5 a lesion of
one pixel of 0.8 mm could fall between the pixels of the 0.7 mm grid and never be learned."""

BODY_HU: Final = -200.0
"""Our choice: a crop "anywhere in the body" is centred on a voxel above it."""

BODY_SLICE_STEP: Final = 8
"""The body is looked for in every so many slices (our choice): millions of voxels are enough."""

MAX_CENTRES: Final = 20_000
"""Voxels remembered of each kind and case (our choice); drawn at random where there are more."""


class Patch(TypedDict):
    """One example, or a batch of them with a leading axis.

    ``ct_patch`` is (slice, row, column) float32 in model units; ``reference`` (label, row, column)
    float32, 0 or 1; ``is_counted`` (1, row, column) bool, False where the loss shall not look;
    ``is_dense`` (1, row, column) bool, True at or above the calcium threshold.
    """

    ct_patch: torch.Tensor
    reference: torch.Tensor
    is_counted: torch.Tensor
    is_dense: torch.Tensor


@dataclass(frozen=True)
class SamplingConfig:
    """Where crops are taken and how large they are; our choice.

    The parts are probabilities of the kind of voxel a crop is centred on; what they leave to 1 is
    drawn anywhere in the body. A case without such voxels gives a dense or body crop instead.
    """

    crop_size: int = 128
    calcium_part: float = 0.5
    confuser_part: float = 0.15
    """Structures known to be mistaken for calcium: valves, aortic wall, bronchi, metal."""
    dense_part: float = 0.2
    """Any other voxel at or above the calcium threshold: ribs, spine, sternum."""
    edge_tolerance_pixels: int = 1
    """Pixels below the threshold this near to calcium do not count: the threshold removes them."""
    counted_above_hu: float | None = None
    """Other pixels count from here on; None counts all. What is far below the calcium threshold
    is never calcium, whatever the network says, and would only fill the union of the IoU loss;
    the margin leaves room for the way back to the pixels of the scan."""

    def __post_init__(self) -> None:
        parts = (self.calcium_part, self.confuser_part, self.dense_part)
        if min(parts) < 0.0 or sum(parts) > 1.0:
            raise ValueError(f"Parts must not be negative and sum to at most 1, not {parts}.")


def prepared_window(model_input: ModelInput, slice_index: int, spec: ModelSpec) -> ModelArray:
    """Return the ``ct_patch`` of a whole slice, the very array that serving feeds the network."""
    return slice_window(model_input.slices, slice_index, spec)


def label_planes(labels: NDArray[np.uint8], names: Sequence[str]) -> NDArray[np.bool_]:
    """Return one plane a label of :class:`ModelSpec` from labels (row, column).

    ``CORONARY`` is the calcium of every artery.
    """
    return np.stack(
        [labels != BACKGROUND if name == "CORONARY" else labels == Artery[name] for name in names]
    )


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
        reference, is_counted = _reference(
            self.case.labels[slice_index], window[self.spec.slice_count // 2], placement, None
        )
        return _patch(window, reference, is_counted, self.spec)


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
        self._centres = {
            "calcium": _some_voxels(calcium, rng),
            "dense": _some_voxels(dense & (case.confusers == 0), rng),
            "body": _some_voxels(case.hu[::BODY_SLICE_STEP] > BODY_HU, rng)
            * np.array([BODY_SLICE_STEP, 1, 1], dtype=np.int32),
        }
        self._confuser_centres = [
            _some_voxels(dense & (case.confusers == kind), rng) for kind in kinds[kinds > 0]
        ]

    def draw(self, rng: np.random.Generator) -> Patch:
        """Return a random crop; the same generator state gives the same crop."""
        slice_index, row, column = self._draw_centre(rng)
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
        neighbours = window_indices(slice_index, self.case.hu.shape[0], self.spec.slice_count)
        # Each slice once: at an end of the scan the edge slice is repeated in the window.
        planes = {k: placement.resample(self.case.hu[k], AIR_HU) for k in set(neighbours.tolist())}
        hu = jitter_hu(np.stack([planes[int(k)] for k in neighbours]), self.augmentation, rng)
        window = hu_to_model_units(hu, self.spec.hu_range)
        reference, is_counted = _reference(
            self.case.labels[slice_index],
            window[self.spec.slice_count // 2],
            placement,
            self.sampling,
        )
        return _patch(window, reference, is_counted, self.spec)

    def _draw_centre(self, rng: np.random.Generator) -> tuple[int, int, int]:
        sampling = self.sampling
        bounds = np.cumsum([sampling.calcium_part, sampling.confuser_part, sampling.dense_part])
        kind = ("calcium", "confuser", "dense", "body")[
            int(np.searchsorted(bounds, rng.uniform(), side="right"))
        ]
        if kind == "confuser" and self._confuser_centres:
            # A kind first: the cartilage of the ribs would outnumber a valve by far.
            chosen = self._confuser_centres[rng.integers(len(self._confuser_centres))]
            slice_index, row, column = chosen[rng.integers(len(chosen))]
            return int(slice_index), int(row), int(column)
        for candidate in (kind, "dense", "body"):
            centres = self._centres.get(candidate, ())
            if len(centres):
                slice_index, row, column = centres[rng.integers(len(centres))]
                return int(slice_index), int(row), int(column)
        raise ValueError(f"Case {self.case.case_id} holds nothing above {BODY_HU} HU.")


class CropDataset(Dataset[Patch]):
    """``length`` crops, each from a random case; crop ``index`` is always the same for one seed."""

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
        self._seed = seed
        self._length = length

    def __len__(self) -> int:
        """Return the number of crops."""
        return self._length

    def __getitem__(self, index: int) -> Patch:
        """Return crop ``index``, whoever asks for it and in whatever order."""
        rng = np.random.default_rng((self._seed, index))
        return self._samplers[rng.integers(len(self._samplers))].draw(rng)


def _some_voxels(where: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int32]:
    flat = np.flatnonzero(where)
    if len(flat) > MAX_CENTRES:
        flat = rng.choice(flat, MAX_CENTRES, replace=False)
    return np.stack(np.unravel_index(flat, where.shape), axis=1).astype(np.int32)


def _reference(
    labels: NDArray[np.uint8],
    middle_slice: ModelArray,
    placement: Placement,
    sampling: SamplingConfig | None,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return reference (label, row, column) and what counts (row, column) at the crop's pixels.

    Without sampling settings every pixel counts.
    """
    spec = placement.spec
    planes = label_planes(np.asarray(labels), spec.labels)
    reference = np.stack(
        [
            placement.resample(plane.astype(np.float32), 0.0) >= REFERENCE_CUT
            if plane.any()
            else np.zeros(placement.shape, dtype=np.bool_)
            for plane in planes
        ]
    )
    is_counted = np.ones(placement.shape, dtype=np.bool_)
    if sampling is None:
        return reference, is_counted
    calcium: NDArray[np.bool_] = np.any(reference, axis=0)
    if sampling.counted_above_hu is not None:
        is_counted = calcium | _is_above(middle_slice, sampling.counted_above_hu, spec)
    if sampling.edge_tolerance_pixels and calcium.any():
        near = ndimage.binary_dilation(
            calcium, np.ones((3, 3), dtype=np.bool_), iterations=sampling.edge_tolerance_pixels
        )
        is_counted[near & ~calcium & ~_is_above(middle_slice, spec.threshold_hu, spec)] = False
    return reference, is_counted


def _is_above(middle_slice: ModelArray, threshold_hu: float, spec: ModelSpec) -> NDArray[np.bool_]:
    threshold = hu_to_model_units(np.array([threshold_hu], np.float32), spec.hu_range)
    above: NDArray[np.bool_] = middle_slice >= threshold
    return above


def _patch(
    window: ModelArray,
    reference: NDArray[np.bool_],
    is_counted: NDArray[np.bool_],
    spec: ModelSpec,
) -> Patch:
    is_dense = _is_above(window[spec.slice_count // 2], spec.threshold_hu, spec)
    return Patch(
        # A copy: the prepared slices are read-only, which torch cannot express.
        ct_patch=torch.from_numpy(np.array(window)),
        reference=torch.from_numpy(reference.astype(np.float32)),
        is_counted=torch.from_numpy(is_counted[np.newaxis]),
        is_dense=torch.from_numpy(is_dense[np.newaxis]),
    )
