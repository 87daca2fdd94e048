"""A CT volume as CT Image Storage instances: phantoms and test series, never a patient's.

The same volume and seed always give the same files: all UIDs are derived from the seed.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    PYDICOM_IMPLEMENTATION_UID,
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from pydicom.valuerep import DSfloat

from calcium_scoring.dicom.uids import derived_uid
from calcium_scoring.volume.ct_volume import CtVolume, HuArray, SeriesIdentity
from calcium_scoring.volume.geometry import VolumeGeometry

RESCALE: Final = (1.0, -1024.0)
"""Slope and intercept of most scanners: stored values from 0 for air of -1024 HU."""

ENCODING_PLUGINS: Final = {
    RLELossless: "pydicom",
    JPEGLSLossless: "pyjpegls",
    JPEG2000Lossless: "pylibjpeg",
}
"""Lossless compressions that can be written, and what writes them."""

_UNCOMPRESSED: Final = frozenset({ExplicitVRLittleEndian, ImplicitVRLittleEndian})
_STORED_RANGE: Final = (-32768, 32767)
_FIRST_ZIP_DATE: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class SeriesAttributes:
    """Whose series it pretends to be; a synthetic patient unless said otherwise."""

    patient_name: str = "Phantom^Synthetic"
    patient_id: str = "PHANTOM"
    patient_birth_date: str = ""
    patient_sex: str = ""
    patient_age: str = ""
    study_date: str = "20000101"
    study_time: str = "000000"
    study_id: str = "1"
    study_description: str = "Synthetic phantom, not a patient"
    series_number: int = 1
    protocol_name: str = ""

    @classmethod
    def of_phantom(cls, seed: int) -> SeriesAttributes:
        """Return the attributes of the synthetic patient of this seed."""
        return cls(patient_name=f"Phantom^Seed{seed:04d}", patient_id=f"PHANTOM-{seed:04d}")


def write_ct_series(
    volume: CtVolume,
    folder: Path,
    *,
    seed: int | str,
    attributes: SeriesAttributes | None = None,
    transfer_syntax_uid: str = ExplicitVRLittleEndian,
    rescales: Sequence[tuple[float, float]] = (RESCALE,),
) -> list[Path]:
    """Write one instance a slice and return the files in slice order.

    Parameters
    ----------
    volume
        Its UIDs are kept; a volume without them gets UIDs that follow from the seed.
    folder
        Created if need be; files are ``000001.dcm`` and so on, from the lowest slice upwards.
    seed
        Names the synthetic patient and the UIDs.
    attributes
        Patient and study; by default those of the phantom of this seed.
    transfer_syntax_uid
        Explicit or implicit VR little endian, or one of ``ENCODING_PLUGINS``.
    rescales
        (slope, intercept) of each slice, repeated in turn; HU are rounded to what they can hold.

    Raises
    ------
    ValueError
        The transfer syntax is none of these, or a value does not fit into 16 bits.
    """
    syntax = UID(transfer_syntax_uid)
    if syntax not in _UNCOMPRESSED and syntax not in ENCODING_PLUGINS:
        raise ValueError(f"Series are not written in {syntax.name}.")
    if attributes is None:
        attributes = (
            SeriesAttributes.of_phantom(seed) if isinstance(seed, int) else SeriesAttributes()
        )
    identity = volume.identity or derived_identity(str(seed), volume.geometry.shape[0])
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, sop_instance_uid in enumerate(identity.sop_instance_uids):
        instance = _common(volume, identity, attributes)
        instance.SOPInstanceUID = sop_instance_uid
        instance.InstanceNumber = index + 1
        instance.ImagePositionPatient = _decimals(volume.geometry.position_lps_mm((index, 0, 0)))
        slope, intercept = rescales[index % len(rescales)]
        instance.RescaleSlope, instance.RescaleIntercept = _decimals((slope, intercept))
        instance.PixelData = _stored(volume.hu[index], slope, intercept).tobytes()
        path = folder / f"{index + 1:06d}.dcm"
        _save(instance, syntax, path)
        paths.append(path)
    return paths


def derived_identity(seed: str, slice_count: int) -> SeriesIdentity:
    """Return the UIDs of the synthetic series of this seed."""
    return SeriesIdentity(
        study_instance_uid=derived_uid("phantom study", seed),
        series_instance_uid=derived_uid("phantom series", seed),
        frame_of_reference_uid=derived_uid("phantom frame of reference", seed),
        sop_instance_uids=tuple(
            derived_uid("phantom instance", seed, str(index)) for index in range(slice_count)
        ),
    )


def zip_files(files: Sequence[Path], archive: Path) -> Path:
    """Pack files under their names into a zip; the same files give the same bytes."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for file in files:
            entry = zipfile.ZipInfo(file.name, _FIRST_ZIP_DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(entry, file.read_bytes())
    return archive


def _common(volume: CtVolume, identity: SeriesIdentity, attributes: SeriesAttributes) -> Dataset:
    """Return what all slices have in common, by the modules of the CT Image IOD (PS3.3 A.3)."""
    instance = Dataset()
    _set_patient_and_study(instance, identity, attributes)
    _set_acquisition(instance, volume)
    _set_image(instance, volume.geometry)
    instance.SeriesInstanceUID = identity.series_instance_uid
    instance.FrameOfReferenceUID = identity.frame_of_reference_uid
    instance.PositionReferenceIndicator = ""
    instance.SeriesNumber = attributes.series_number
    if attributes.protocol_name:
        instance.ProtocolName = attributes.protocol_name
    return instance


def _set_patient_and_study(
    instance: Dataset, identity: SeriesIdentity, attributes: SeriesAttributes
) -> None:
    instance.SpecificCharacterSet = "ISO_IR 192"
    instance.PatientName = attributes.patient_name
    instance.PatientID = attributes.patient_id
    instance.PatientBirthDate = attributes.patient_birth_date
    instance.PatientSex = attributes.patient_sex
    if attributes.patient_age:
        instance.PatientAge = attributes.patient_age
    instance.StudyInstanceUID = identity.study_instance_uid
    instance.StudyID = attributes.study_id
    instance.StudyDescription = attributes.study_description
    instance.StudyDate = instance.SeriesDate = attributes.study_date
    instance.AcquisitionDate = instance.ContentDate = attributes.study_date
    instance.StudyTime = instance.SeriesTime = attributes.study_time
    instance.AcquisitionTime = instance.ContentTime = attributes.study_time
    instance.AccessionNumber = ""
    instance.ReferringPhysicianName = ""


def _set_acquisition(instance: Dataset, volume: CtVolume) -> None:
    acquisition = volume.acquisition
    instance.Modality = "CT"
    instance.Manufacturer = acquisition.manufacturer or "cacscore"
    instance.ManufacturerModelName = acquisition.manufacturer_model_name or "synthetic phantom"
    if acquisition.series_description:
        instance.SeriesDescription = acquisition.series_description
    if acquisition.is_contrast_enhanced:
        instance.ContrastBolusAgent = "CONTRAST"
    instance.BodyPartExamined = "CHEST"
    if acquisition.is_ecg_gated:
        instance.ScanOptions = "ECG_GATED"
    thickness_mm = acquisition.slice_thickness_mm or volume.geometry.spacing_between_slices_mm
    (instance.SliceThickness,) = _decimals((thickness_mm,))
    instance.KVP = None if acquisition.kvp is None else DSfloat(acquisition.kvp, auto_format=True)
    instance.GantryDetectorTilt = "0"
    if acquisition.convolution_kernel:
        instance.ConvolutionKernel = list(acquisition.convolution_kernel)
    instance.PatientPosition = "HFS"
    instance.AcquisitionNumber = 1


def _set_image(instance: Dataset, geometry: VolumeGeometry) -> None:
    instance.SOPClassUID = CTImageStorage
    instance.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    instance.ImageOrientationPatient = _decimals(_orientation(geometry))
    _, instance.Rows, instance.Columns = geometry.shape
    instance.PixelSpacing = _decimals(geometry.pixel_spacing_mm)
    instance.SamplesPerPixel = 1
    instance.PhotometricInterpretation = "MONOCHROME2"
    instance.BitsAllocated = instance.BitsStored = 16
    instance.HighBit = 15
    instance.PixelRepresentation = 1
    instance.RescaleType = "HU"


def _orientation(geometry: VolumeGeometry) -> tuple[float, ...]:
    """Return the directions along a row and along a column (PS3.3 C.7.6.2.1.1)."""
    directions = geometry.affine[:3, :3] / np.array(geometry.spacing_mm)
    return (*directions[:, 2].tolist(), *directions[:, 1].tolist())


def _decimals(values: Sequence[float]) -> list[DSfloat]:
    # Adding zero turns -0.0 into 0.0.
    return [DSfloat(float(value) + 0.0, auto_format=True) for value in values]


def _stored(hu: HuArray, slope: float, intercept: float) -> NDArray[np.int16]:
    stored = np.rint((hu.astype(np.float64) - intercept) / slope)
    lowest, highest = _STORED_RANGE
    if stored.min() < lowest or stored.max() > highest:
        raise ValueError(
            f"HU from {hu.min():g} to {hu.max():g} do not fit into 16 bits with slope {slope:g} "
            f"and intercept {intercept:g}."
        )
    return stored.astype("<i2")


def _save(instance: Dataset, syntax: UID, path: Path) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = instance.SOPClassUID
    meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
    meta.TransferSyntaxUID = syntax if syntax in _UNCOMPRESSED else ExplicitVRLittleEndian
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    instance.file_meta = meta
    if syntax in ENCODING_PLUGINS:
        instance.compress(
            syntax, encoding_plugin=ENCODING_PLUGINS[syntax], generate_instance_uid=False
        )
    instance.save_as(path, enforce_file_format=True)
