"""Age and sex from headers that are whole, empty, contradictory or wrong."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from calcium_scoring.dicom.headers import quiet_pydicom
from calcium_scoring.dicom.patient import patient_facts
from calcium_scoring.volume.patient import Sex


def header(**attributes: str) -> Dataset:
    dataset = Dataset()
    with quiet_pydicom():
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)
    return dataset


def age(**attributes: str) -> int | None:
    with quiet_pydicom():
        return patient_facts(header(**attributes)).age_years


@pytest.mark.parametrize(
    ("written", "years"),
    [("062Y", 62), ("000Y", 0), ("018M", 1), ("104W", 1), ("105W", 2), ("400D", 1), ("62", None),
     ("62Y", None), ("", None), ("999Y", None), ("0.2Y", None), ("089+", None)],
)  # fmt: skip
def test_patient_age_is_read_in_whole_years(written: str, years: int | None) -> None:
    assert age(PatientAge=written) == years


@pytest.mark.parametrize(
    ("born", "studied", "years"),
    [("19600615", "20260614", 65), ("19600615", "20260615", 66), ("19600229", "20260228", 65),
     ("19600229", "20260301", 66), ("19601332", "20260101", None), ("1960", "20260101", None),
     ("20270101", "20260101", None), ("17000101", "20260101", None)],
)  # fmt: skip
def test_age_is_the_completed_years_between_birth_and_study(
    born: str, studied: str, years: int | None
) -> None:
    assert age(PatientBirthDate=born, StudyDate=studied) == years


def test_stated_age_goes_before_dates_that_agree_with_it() -> None:
    facts = patient_facts(
        header(PatientAge="066Y", PatientBirthDate="19600615", StudyDate="20260614")
    )

    assert (facts.age_years, facts.age_source) == (66, "PatientAge (0010,1010)")


def test_dates_that_were_shifted_leave_no_age() -> None:
    facts = patient_facts(
        header(PatientAge="066Y", PatientBirthDate="19000101", StudyDate="20000101")
    )

    assert facts.age_years is None
    assert "contradicts" in facts.age_source


@pytest.mark.parametrize(
    ("written", "sex"), [("M", Sex.MALE), ("F", Sex.FEMALE), ("O", None), ("", None)]
)
def test_only_sexes_that_reference_groups_have_are_taken(written: str, sex: Sex | None) -> None:
    facts = patient_facts(header(PatientSex=written))

    assert facts.sex is sex
    assert facts.sex_source


def test_no_other_attribute_of_the_patient_is_kept() -> None:
    facts = patient_facts(
        header(
            PatientName="Secret^Name", PatientID="12345", PatientBirthDate="19600615",
            StudyDate="20260101", PatientSex="F",
        )
    )  # fmt: skip

    shown = repr(facts)
    assert "Secret" not in shown
    assert "12345" not in shown
    assert "1960" not in shown
