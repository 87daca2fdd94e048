"""Questions to an archive (PS3.4 C.6.2, Study Root), and what its answers say."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from calcium_scoring.dicom.headers import text


def series_of_study(study_instance_uid: str) -> Dataset:
    """Return the identifier that asks for every series of a study with its modality."""
    question = Dataset()
    question.QueryRetrieveLevel = "SERIES"
    question.StudyInstanceUID = study_instance_uid
    question.SeriesInstanceUID = ""
    question.Modality = ""
    return question


def whole_series(study_instance_uid: str, series_instance_uid: str) -> Dataset:
    """Return the identifier that asks for every object of a series (C-GET, C-MOVE)."""
    question = Dataset()
    question.QueryRetrieveLevel = "SERIES"
    question.StudyInstanceUID = study_instance_uid
    question.SeriesInstanceUID = series_instance_uid
    return question


@dataclass(frozen=True)
class FoundSeries:
    """A series that an archive has."""

    series_instance_uid: str
    modality: str


def found_series(answer: Dataset) -> FoundSeries | None:
    """Return which series was found; None where the answer leaves UID or modality out."""
    uid, modality = text(answer, "SeriesInstanceUID"), text(answer, "Modality")
    return None if uid is None or modality is None else FoundSeries(uid, modality)
