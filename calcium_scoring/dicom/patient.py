"""Age and sex of the patient from the header; nothing else of a patient leaves this module."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Final

from pydicom.dataset import Dataset

from calcium_scoring.dicom.headers import text
from calcium_scoring.volume.patient import PatientFacts, Sex

OLDEST_YEARS: Final = 120
"""Ages beyond are taken for a slip; our choice."""

AGE_TOLERANCE_YEARS: Final = 1
"""PatientAge may be that of the last or next birthday. Our choice."""

_SEXES: Final = {"F": Sex.FEMALE, "M": Sex.MALE}
_AGE: Final = re.compile(r"(\d{3})([DWMY])")
_UNITS_PER_YEAR: Final = {"D": 365.25, "W": 365.25 / 7.0, "M": 12.0, "Y": 1.0}


def patient_facts(header: Dataset) -> PatientFacts:
    """Return age and sex as the header has them.

    The age is Patient's Age (0010,1010), or else the completed years from Patient's Birth Date
    (0010,0030) to Study Date (0008,0020). Where both are there and contradict each other by more
    than a year, as dates that were shifted to hide an identity do, there is none. Sex is
    Patient's Sex (0010,0040) where it is M or F.
    """
    age_years, age_source = _age(header)
    sex_code = text(header, "PatientSex")
    sex = _SEXES.get(sex_code or "")
    if sex is not None:
        sex_source = "PatientSex (0010,0040)"
    elif sex_code is None:
        sex_source = "not in the header"
    else:
        sex_source = "PatientSex (0010,0040) is neither M nor F"
    return PatientFacts(age_years, sex, age_source, sex_source)


def _age(header: Dataset) -> tuple[int | None, str]:
    stated, computed = _stated_age(header), _age_by_dates(header)
    if stated is None and computed is None:
        return None, "not in the header"
    if stated is not None and computed is not None and abs(stated - computed) > AGE_TOLERANCE_YEARS:
        return None, "PatientAge (0010,1010) contradicts PatientBirthDate (0010,0030)"
    if stated is not None:
        return stated, "PatientAge (0010,1010)"
    return computed, "PatientBirthDate (0010,0030) and StudyDate (0008,0020)"


def _stated_age(header: Dataset) -> int | None:
    found = _AGE.fullmatch(text(header, "PatientAge") or "")
    if found is None:
        return None
    return _plausible(int(int(found[1]) / _UNITS_PER_YEAR[found[2]]))


def _age_by_dates(header: Dataset) -> int | None:
    born, studied = _date(header, "PatientBirthDate"), _date(header, "StudyDate")
    if born is None or studied is None:
        return None
    had_birthday = (studied.month, studied.day) >= (born.month, born.day)
    return _plausible(studied.year - born.year - (not had_birthday))


def _date(header: Dataset, keyword: str) -> date | None:
    written = text(header, keyword) or ""
    try:
        return datetime.strptime(written, "%Y%m%d").date()  # noqa: DTZ007 - DICOM dates have no zone
    except ValueError:
        return None


def _plausible(years: int) -> int | None:
    return years if 0 <= years <= OLDEST_YEARS else None
