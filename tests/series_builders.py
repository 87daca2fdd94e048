"""Small CT series on disk, and the accidents that happen to series."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.uid import EnhancedCTImageStorage

from calcium_scoring.dicom.write_series import write_ct_series
from calcium_scoring.upload.archive import files_of_upload
from calcium_scoring.volume.ct_volume import CtAcquisition, CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry

CALCIUM_SCAN = CtAcquisition(
    manufacturer="cacscore",
    manufacturer_model_name="synthetic phantom",
    kvp=120.0,
    slice_thickness_mm=3.0,
    convolution_kernel=("B35f",),
    is_ecg_gated=True,
    series_description="Calcium Score 3.0",
)
"""Acquired as the score is defined: reading it gives no warning."""


def noise_volume(
    slice_count: int = 9,
    *,
    spacing_mm: tuple[float, float, float] = (3.0, 0.5, 0.5),
    acquisition: CtAcquisition = CALCIUM_SCAN,
    side: int = 64,
) -> CtVolume:
    """Every voxel is another whole number of HU, so that nothing can be confused with anything."""
    shape = (slice_count, side, side)
    hu = np.random.default_rng(slice_count).integers(-1000, 1500, shape).astype(np.float32)
    geometry = VolumeGeometry.axial(shape, spacing_mm, (-20.0, -150.0, -1234.5))
    return CtVolume(geometry, hu, acquisition)


def write_series(folder: Path, volume: CtVolume | None = None, *, seed: int = 1) -> list[Path]:
    return write_ct_series(volume or noise_volume(), folder, seed=seed)


def edit(paths: Iterable[Path], change: Callable[[Dataset, int], object]) -> None:
    """Change the instances in place; ``change`` gets the data set and its slice index."""
    for index, path in enumerate(paths):
        instance = dcmread(path)
        change(instance, index)
        instance.save_as(path)


def set_attributes(paths: Iterable[Path], **values: object) -> None:
    """Set attributes by keyword in all files; None removes the attribute."""

    def change(instance: Dataset, _: int) -> None:
        for keyword, value in values.items():
            if value is None:
                del instance[keyword]
            else:
                setattr(instance, keyword, value)

    edit(paths, change)


def remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink()


def move(paths: Sequence[Path], positions_z_mm: Sequence[float]) -> None:
    """Put slice i at this z."""

    def change(instance: Dataset, index: int) -> None:
        x, y, _ = instance.ImagePositionPatient
        instance.ImagePositionPatient = [x, y, positions_z_mm[index]]

    edit(paths, change)


def without_contrast_in_the_header(upload: Path, folder: Path) -> Path:
    """Unpack a series and take the word of contrast agent out of its headers."""
    plain = folder / "plain"
    plain.mkdir()
    for file in files_of_upload(upload, folder / "unpacked_with_contrast"):
        instance = dcmread(file.path)
        for keyword in ("ContrastBolusAgent", "ContrastBolusVolume", "ContrastBolusRoute"):
            instance.pop(keyword, None)
        instance.save_as(plain / file.path.name)
    return plain


def write_enhanced(
    path: Path,
    singles: Sequence[Path],
    *,
    order: Sequence[int] | None = None,
    change: Callable[[Dataset], object] = lambda _: None,
) -> Path:
    """Put single-frame slices into one Enhanced CT object, as PS3.3 A.38 lays it out.

    ``order`` is that of the frames; what is the same for all slices is shared, position and rescale
    stand with each frame. ``change`` is applied before it is written.
    """
    slices = [dcmread(single) for single in singles]
    slices = [slices[index] for index in order or range(len(slices))]
    first = slices[0]
    enhanced = Dataset()
    for element in first:
        if element.keyword not in _OF_FRAMES:
            enhanced.add(element)
    enhanced.SOPClassUID = EnhancedCTImageStorage
    enhanced.SOPInstanceUID = first.SOPInstanceUID + ".1"
    enhanced.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    enhanced.NumberOfFrames = len(slices)
    shared = Dataset()
    shared.PixelMeasuresSequence = [_picked(first, "PixelSpacing", "SliceThickness")]
    shared.PlaneOrientationSequence = [_picked(first, "ImageOrientationPatient")]
    shared.CTXRayDetailsSequence = [_picked(first, "KVP")]
    shared.CTReconstructionSequence = [_picked(first, "ConvolutionKernel")]
    shared.CTAcquisitionDetailsSequence = [_picked(first, "GantryDetectorTilt")]
    shared.CTImageFrameTypeSequence = [Dataset()]
    shared.CTImageFrameTypeSequence[0].FrameType = ["ORIGINAL", "PRIMARY", "AXIAL", "NONE"]
    enhanced.SharedFunctionalGroupsSequence = [shared]
    enhanced.PerFrameFunctionalGroupsSequence = [
        _frame_groups(one, number) for number, one in enumerate(slices, start=1)
    ]
    enhanced.PixelData = b"".join(one.PixelData for one in slices)
    enhanced.file_meta = first.file_meta
    enhanced.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    enhanced.file_meta.MediaStorageSOPInstanceUID = enhanced.SOPInstanceUID
    change(enhanced)
    enhanced.save_as(path, enforce_file_format=True)
    return path


_OF_FRAMES = frozenset(
    {
        "ConvolutionKernel",
        "GantryDetectorTilt",
        "ImageOrientationPatient",
        "ImagePositionPatient",
        "KVP",
        "PixelData",
        "PixelSpacing",
        "RescaleIntercept",
        "RescaleSlope",
        "RescaleType",
        "SliceThickness",
    }
)


def _picked(instance: Dataset, *keywords: str) -> Dataset:
    item = Dataset()
    for keyword in keywords:
        item[keyword] = instance[keyword]
    return item


def _frame_groups(instance: Dataset, number: int) -> Dataset:
    groups = Dataset()
    content = Dataset()
    content.StackID = "1"
    content.InStackPositionNumber = number
    groups.FrameContentSequence = [content]
    groups.PlanePositionSequence = [_picked(instance, "ImagePositionPatient")]
    groups.PixelValueTransformationSequence = [
        _picked(instance, "RescaleIntercept", "RescaleSlope", "RescaleType")
    ]
    return groups
