"""Pictures for any DICOM viewer: Secondary Capture Image Storage, RGB, everything burnt in.

The same picture written again is the same file, byte for byte.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import SecondaryCaptureImageStorage

from calcium_scoring.dicom.derived_objects import (
    SERIES_NUMBER_OFFSET,
    Algorithm,
    new_object,
    origin_of,
    reference_to,
    series_number,
)
from calcium_scoring.dicom.headers import quiet_pydicom
from calcium_scoring.dicom.read_series import CtSeries
from calcium_scoring.dicom.uids import derived_uid

SERIES_DESCRIPTION: Final = "Coronary calcium key images (research use only)"
_SERIES_NUMBER_OFFSET: Final = SERIES_NUMBER_OFFSET + 2


def write_secondary_capture(
    picture: NDArray[np.uint8],
    series: CtSeries,
    slice_index: int,
    *,
    model: Algorithm,
    instance_number: int,
    out: Path,
) -> Path:
    """Write a picture of a slice as Secondary Capture and return the path.

    Parameters
    ----------
    picture
        (row, column, red-green-blue), uint8.
    slice_index
        The slice that it shows; the object refers to its instance.
    instance_number
        Place of the picture among those of the series, from 1.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(
            f"A picture is (row, column, 3) of uint8, not {picture.shape} of {picture.dtype}."
        )
    header = series.instances[slice_index]
    origin = origin_of(header, model)
    digest = hashlib.sha256(picture.tobytes()).hexdigest()
    with quiet_pydicom():
        result = new_object(
            header,
            model,
            sop_class_uid=SecondaryCaptureImageStorage,
            sop_instance_uid=derived_uid("SC instance", *origin, str(instance_number), digest),
            series_instance_uid=derived_uid("SC series", *origin),
            series_number=series_number(header, _SERIES_NUMBER_OFFSET),
            instance_number=instance_number,
            modality="OT",
            series_description=SERIES_DESCRIPTION,
        )
        result.ConversionType = "WSD"
        result.ImageType = ["DERIVED", "SECONDARY"]
        result.PatientOrientation = ["L", "P"]
        result.BodyPartExamined = "HEART"
        result.BurnedInAnnotation = "YES"
        result.DerivationDescription = "Key image with outlined calcium and score table"
        result.SourceImageSequence = [reference_to(header)]
        result.SamplesPerPixel = 3
        result.PhotometricInterpretation = "RGB"
        result.PlanarConfiguration = 0
        result.Rows, result.Columns = picture.shape[:2]
        result.BitsAllocated = result.BitsStored = 8
        result.HighBit = 7
        result.PixelRepresentation = 0
        pixels = picture.tobytes()
        result.PixelData = pixels + b"\x00" * (len(pixels) % 2)
        result["PixelData"].VR = "OB"
        result.save_as(out, enforce_file_format=True)
    return out
