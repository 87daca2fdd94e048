"""The grid of a volume: its shape and where each voxel lies in the patient.

Arrays are ``(slice, row, column)``. Positions are LPS millimetres (x to the patient's left,
y to posterior, z to superior), as in DICOM PS3.3 C.7.6.2. The slice axis always points to
superior: slice 0 is the lowest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class VolumeGeometry:
    """Shape ``(slice, row, column)`` and the affine from index to LPS mm.

    Parameters
    ----------
    shape
        Number of slices, rows and columns.
    affine
        (4, 4): ``affine @ (slice, row, column, 1)`` is the voxel centre in LPS mm.
    """

    shape: tuple[int, int, int]
    affine: FloatArray

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise ValueError(f"An affine is a finite (4, 4) matrix, not {affine!r}.")
        if min(self.shape) < 1 or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise ValueError(f"A grid needs voxels and three independent axes: {self.shape}.")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)

    @classmethod
    def axial(
        cls,
        shape: tuple[int, int, int],
        spacing_mm: tuple[float, float, float],
        origin_lps_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> VolumeGeometry:
        """Return a grid of axial slices in the usual head-first supine orientation.

        ``spacing_mm`` is (slice, row, column); ``origin_lps_mm`` is the centre of voxel (0, 0, 0).
        """
        affine = np.zeros((4, 4))
        affine[2, 0], affine[1, 1], affine[0, 2] = spacing_mm
        affine[:3, 3] = origin_lps_mm
        affine[3, 3] = 1.0
        return cls(shape, affine)

    def cropped(self, box: tuple[slice, slice, slice]) -> VolumeGeometry:
        """Return the grid of a box (slice, row, column) of this one; its voxels stay in place."""
        starts, sizes = [], []
        for part, size in zip(box, self.shape, strict=True):
            start, stop, step = part.indices(size)
            if step != 1:
                raise ValueError(f"A box has no gaps, but this one has a step of {step}.")
            starts.append(start)
            sizes.append(stop - start)
        affine = np.array(self.affine)
        affine[:3, 3] += affine[:3, :3] @ np.array(starts, dtype=np.float64)
        return VolumeGeometry((sizes[0], sizes[1], sizes[2]), affine)

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along (slice, row, column)."""
        slice_mm, row_mm, column_mm = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(slice_mm), float(row_mm), float(column_mm)

    @property
    def spacing_between_slices_mm(self) -> float:
        """Distance between slice centres; not the slice thickness."""
        return self.spacing_mm[0]

    @property
    def pixel_spacing_mm(self) -> tuple[float, float]:
        """DICOM order: between rows first, then between columns."""
        return self.spacing_mm[1], self.spacing_mm[2]

    @property
    def pixel_area_mm2(self) -> float:
        """Area of one pixel within its slice."""
        return self.spacing_mm[1] * self.spacing_mm[2]

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def affine_ras(self) -> FloatArray:
        """The affine to RAS mm with the same index order; only for a NIfTI border."""
        return _LPS_TO_RAS @ self.affine

    def position_lps_mm(self, index: tuple[float, float, float]) -> tuple[float, float, float]:
        """Return where a (fractional) index ``(slice, row, column)`` lies."""
        x, y, z, _ = self.affine @ np.array([*index, 1.0])
        return float(x), float(y), float(z)

    def index_at(self, position_lps_mm: tuple[float, float, float]) -> tuple[float, float, float]:
        """Return the (fractional) index ``(slice, row, column)`` at a position."""
        k, r, c, _ = np.linalg.solve(self.affine, np.array([*position_lps_mm, 1.0]))
        return float(k), float(r), float(c)

    def is_same_grid(self, other: VolumeGeometry, tolerance_mm: float = 0.01) -> bool:
        """Tell whether every voxel of both grids lies at the same place."""
        if self.shape != other.shape:
            return False
        corners = np.array(
            [(k, r, c, 1.0) for k in (0, 1) for r in (0, 1) for c in (0, 1)]
        ) * np.array([*(np.array(self.shape) - 1.0), 1.0])
        distances = np.linalg.norm((corners @ (self.affine - other.affine).T)[:, :3], axis=1)
        return bool(distances.max() <= tolerance_mm)
