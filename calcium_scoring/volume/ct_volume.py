"""A CT volume: Hounsfield values on a grid, how they were acquired and where they came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.patient import UNKNOWN_PATIENT, PatientFacts

HuArray: TypeAlias = NDArray[np.float32] | NDArray[np.int16]
"""Whole numbers of 16 bits where a scan has nothing else, as nearly all CT: half the memory. To
calculate with them, take them as floating point first, or they overflow."""

HuSlice: TypeAlias = NDArray[np.float32]

_HU_TYPES: Final = (np.dtype(np.float32), np.dtype(np.int16))

AIR_HU = -1024.0
"""Value of whatever lies outside the field of view; the lowest value of a 12-bit CT scale."""


@dataclass(frozen=True)
class CtAcquisition:
    """How a series was acquired; None where the header does not say.

    ``calcium_scoring_mass_factor_patient`` (0018,9351) and ``..._device`` (0018,9352: for a small,
    medium and large patient) are kept as stated and used by nothing: the standard names no unit.
    """

    manufacturer: str | None = None
    manufacturer_model_name: str | None = None
    kvp: float | None = None
    slice_thickness_mm: float | None = None
    convolution_kernel: tuple[str, ...] = ()
    is_ecg_gated: bool | None = None
    is_contrast_enhanced: bool | None = None
    series_description: str | None = None
    calcium_scoring_mass_factor_patient: float | None = None
    calcium_scoring_mass_factor_device: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class SeriesIdentity:
    """The UIDs of a series; ``sop_instance_uids`` has one entry a slice, in slice order.

    ``frame_numbers`` says which frame (from 1) of that instance a slice is; None where every slice
    is an instance of its own.
    """

    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str
    sop_instance_uids: tuple[str, ...]
    frame_numbers: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class CtVolume:
    """Hounsfield values ``(slice, row, column)``, read-only, on a geometry.

    ``hu`` is float32, or int16 where the scan holds whole numbers only; :meth:`slice_hu` is always
    float32.

    ``mass_calibration_factor`` is in mg / (cm3 HU); whoever calibrated the scanner gives it.
    """

    geometry: VolumeGeometry
    hu: HuArray
    acquisition: CtAcquisition = CtAcquisition()
    identity: SeriesIdentity | None = None
    mass_calibration_factor: float | None = None
    patient: PatientFacts = UNKNOWN_PATIENT

    def __post_init__(self) -> None:
        if self.hu.dtype not in _HU_TYPES or self.hu.shape != self.geometry.shape:
            raise ValueError(
                f"HU must be float32 or int16 of shape {self.geometry.shape}, "
                f"not {self.hu.dtype} of {self.hu.shape}."
            )
        if self.identity and len(self.identity.sop_instance_uids) != self.geometry.shape[0]:
            raise ValueError("There must be one SOP Instance UID for each slice.")
        self.hu.setflags(write=False)

    def slice_hu(self, index: int) -> HuSlice:
        """Return one slice (row, column) to calculate with."""
        hu: HuSlice = self.hu[index].astype(np.float32, copy=False)
        return hu
