"""Questions to an archive (PS3.4 C.6.2, Study Root), and what its answers say."""

from __future__ import annotations

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


def modality_of(answer: Dataset) -> str | None:
    """Return the modality of a series that was found."""
    return text(answer, "Modality")
