"""The printed page: what stands on it, and that nothing runs into anything."""

from __future__ import annotations

from typing import Any

import pypdfium2
import pytest

from calcium_scoring.rendering.report_page import MOST_LESIONS, render_report_page
from calcium_scoring.scoring.conventions import CONVENTIONS
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.scoring.report import measure_calcium
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.label_map import Artery, LabelMap
from calcium_scoring.volume.patient import Sex
from service.application.categories import GivenFacts
from service.application.report_document import report_document
from tests.builders import plaque_phantom

FOOT_POINTS = 80.0
"""Up to this height the foot of the page is printed."""


MARGIN_POINTS = 30.0
"""Printers need less."""


@pytest.fixture(scope="module")
def plaque() -> tuple[CtVolume, LabelMap]:
    return plaque_phantom(label=Artery.LAD)


@pytest.fixture
def document(plaque: tuple[CtVolume, LabelMap]) -> dict[str, Any]:
    """2 slices x 25 mm2 x weight 2 = 100 Agatston, of a man of 62 years."""
    report = measure_calcium(
        *plaque, protocol=LITERATURE, has_artery_labels=True, conventions=CONVENTIONS.values()
    )
    given = GivenFacts(age_years=62, sex=Sex.MALE)
    return report_document(report, plaque[0], model=None, given=given)


def page_of(document: dict[str, Any], plaque: tuple[CtVolume, LabelMap]) -> Any:  # noqa: ANN401
    pdf = render_report_page(document, *plaque, (1,), study_date="20240229")
    return pypdfium2.PdfDocument(pdf)[0].get_textpage()


def words_of(document: dict[str, Any], plaque: tuple[CtVolume, LabelMap]) -> str:
    return " ".join(page_of(document, plaque).get_text_range().split())


def test_score_category_percentile_and_arteries_are_on_the_page(
    document: dict[str, Any], plaque: tuple[CtVolume, LabelMap]
) -> None:
    words = words_of(document, plaque)

    assert "100.0 Agatston" in words
    # 100 is category 11-100 and CAC-DRS A2; men of 60 to 64: 13, 113, 410, 994 (Hoff).
    assert "Category 11-100 CAC-DRS A2/N1" in words
    assert "between the 25th and 50th percentile of men, 60-64 years" in words
    assert "LAD 100.0 150.0 1" in words
    assert "Scan: 2024-02-29" in words
    assert words.count("Research use only") == 2


def test_warnings_end_above_the_foot_and_those_that_do_not_fit_are_counted(
    document: dict[str, Any], plaque: tuple[CtVolume, LabelMap]
) -> None:
    document["lesions"] *= 30
    document["warnings"] = [
        {"code": f"code_{number}", "message": "Words that fill more than a line. " * 6}
        for number in range(30)
    ]

    page = page_of(document, plaque)

    text = page.get_text_range()
    shown = sum(f"(code_{number})" in text for number in range(30))
    assert 0 < shown < 30
    start, _ = page.search(f"and {30 - shown} more: JSON report and SR").get_next()
    assert page.get_charbox(start)[1] > FOOT_POINTS


@pytest.mark.parametrize("count", [1, 2, 40])
def test_lesions_that_do_not_fit_are_counted(
    document: dict[str, Any], plaque: tuple[CtVolume, LabelMap], count: int
) -> None:
    document["lesions"] = [{**document["lesions"][0], "id": 1 + one} for one in range(count)]

    words = words_of(document, plaque)

    hidden = count - MOST_LESIONS
    assert (f"and {hidden} more with a score of {100.0 * hidden:.1f}" in words) is (hidden > 0)


def test_what_is_not_known_is_said_and_nothing_is_drawn_instead(
    document: dict[str, Any], plaque: tuple[CtVolume, LabelMap]
) -> None:
    document["categories"]["patient"] |= {"age_years": None, "sex": None}
    document["categories"]["hoff_percentile"] |= {"value": None, "reason": "Not known: sex."}
    document["arteries"] = dict.fromkeys(document["arteries"])

    words = words_of(document, plaque)

    assert "age not known, sex not known" in words
    assert "Sex not known: no curve." in words
    assert "Hoff: no percentile. Not known: sex." in words
    assert "The mask does not tell arteries apart." in words


def test_facts_of_the_scan_end_within_the_page_however_long_its_description_is(
    document: dict[str, Any], plaque: tuple[CtVolume, LabelMap]
) -> None:
    # As long as DICOM lets a Series Description be (LO, PS3.5 table 6.2-1).
    document["series"] |= {"series_description": "W" * 64, "is_ecg_gated": None}

    page = page_of(document, plaque)

    for words in ("W" * 64, "gating not known"):
        start, count = page.search(words).get_next()
        right = max(page.get_charbox(start + one)[2] for one in range(count))
        assert right < page.page.get_width() - MARGIN_POINTS
