"""What the headers of received files say of each series, in the words of routing rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from calcium_scoring.dicom.enhanced_ct import frames_of, is_enhanced_ct
from calcium_scoring.dicom.headers import (
    ImageFile,
    NotReadable,
    number,
    quiet_pydicom,
    read_image_file,
    sop_class,
    text,
    texts,
)
from calcium_scoring.dicom.select_series import is_contrast_enhanced, is_ecg_gated
from calcium_scoring.dicom.uids import is_valid_uid

FactValue = tuple[str, ...] | float | bool | None
"""Texts (none: not stated), a number, or yes and no; None where the headers do not say."""

_TEXTS: Final = {
    "modality": "Modality",
    "series_description": "SeriesDescription",
    "protocol_name": "ProtocolName",
    "study_description": "StudyDescription",
    "body_part_examined": "BodyPartExamined",
    "convolution_kernel": "ConvolutionKernel",
    "image_type": "ImageType",
    "manufacturer": "Manufacturer",
    "manufacturer_model_name": "ManufacturerModelName",
    "station_name": "StationName",
    "institution_name": "InstitutionName",
}
_NUMBERS: Final = {"slice_thickness_mm": "SliceThickness", "kvp": "KVP"}


@dataclass(frozen=True)
class InstanceIdentity:
    """Which instance a data set says that it is."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str


@dataclass(frozen=True)
class SeriesFacts:
    """A series of a study: its files in the order given, and what its headers say.

    ``values`` has every name of :data:`FACT_NAMES`. Texts, thickness and tube voltage are those of
    the first image; contrast agent and gating are true where any image says so.
    """

    files: tuple[Path, ...]
    values: Mapping[str, FactValue]


FACT_NAMES: Final = (
    *_TEXTS,
    *_NUMBERS,
    "slice_count",
    "is_contrast_enhanced",
    "is_ecg_gated",
)
"""What is known of each series."""


def identify_instance(path: Path) -> InstanceIdentity:
    """Return which instance a received file holds.

    Raises
    ------
    NotReadable
        It is not DICOM, is damaged, or one of its three UIDs is missing or invalid; the reason
        quotes nothing of the file.
    """
    header = read_image_file(path, path.name).header
    with quiet_pydicom():
        uids = (
            sop_class(header),
            text(header, "SOPInstanceUID"),
            text(header, "StudyInstanceUID"),
        )
    names = ("SOP Class UID", "SOP Instance UID", "Study Instance UID")
    for name, uid in zip(names, uids, strict=True):
        if uid is None or not is_valid_uid(uid):
            raise NotReadable(f"has no valid {name}")
    kind, instance, study = (uid or "" for uid in uids)
    return InstanceIdentity(kind, instance, study)


def series_facts(files: Iterable[Path]) -> tuple[list[SeriesFacts], list[tuple[Path, str]]]:
    """Return the series among files, in order of their first file, and what is no image, and why.

    Files without a Series Instance UID are one series.
    """
    series: dict[str, _Series] = {}
    left_out = []
    with quiet_pydicom():
        for path in files:
            try:
                image = read_image_file(path, path.name)
                found = _images_of(image)
            except NotReadable as error:
                left_out.append((path, str(error)))
                continue
            uid = text(image.header, "SeriesInstanceUID") or ""
            series.setdefault(uid, _Series()).add(path, found)
    return [one.facts() for one in series.values()], left_out


def _images_of(image: ImageFile) -> list[ImageFile]:
    return frames_of(image) if is_enhanced_ct(image.header) else [image]


class _Series:
    """Gathers what is known, without keeping a header."""

    def __init__(self) -> None:
        self._files: list[Path] = []
        self._values: dict[str, FactValue] = {}
        self._image_count = 0

    def add(self, path: Path, images: list[ImageFile]) -> None:
        self._files.append(path)
        if not self._values and images:
            self._values = _values_of(images[0].header)
        self._image_count += len(images)
        for image in images:
            self._join("is_contrast_enhanced", is_contrast_enhanced(image.header))
            self._join("is_ecg_gated", is_ecg_gated(image.header))

    def _join(self, name: str, value: bool | None) -> None:
        if value or self._values.get(name) is None:
            self._values[name] = value

    def facts(self) -> SeriesFacts:
        return SeriesFacts(
            tuple(self._files), {**self._values, "slice_count": float(self._image_count)}
        )


def _values_of(header: Dataset) -> dict[str, FactValue]:
    values: dict[str, FactValue] = {name: texts(header, word) for name, word in _TEXTS.items()}
    values.update({name: number(header, word) for name, word in _NUMBERS.items()})
    return values
