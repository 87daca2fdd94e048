"""A report in a terminal: what a reader sees first, and what is not shown."""

from __future__ import annotations

from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from calcium_scoring.scoring.conventions import CONVENTIONS
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.scoring.report import measure_calcium
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.label_map import Artery, LabelMap
from service.application.report_document import report_document
from service.application.report_terms import ReportDocument
from service.cli.outcome import CommandFailed
from service.cli.report_view import print_report
from tests.builders import plaque_phantom, soft_tissue_volume


def document_of(volume: CtVolume, label_map: LabelMap) -> ReportDocument:
    report = measure_calcium(
        volume,
        label_map,
        protocol=LITERATURE,
        has_artery_labels=True,
        conventions=CONVENTIONS.values(),
    )
    return report_document(report, volume, model=None)


def shown(document: ReportDocument) -> str:
    out = StringIO()
    print_report(document, Console(file=out, width=160))
    return out.getvalue()


def test_category_vessels_and_agreement_of_conventions_are_shown() -> None:
    text = shown(document_of(*plaque_phantom(label=Artery.LAD)))

    assert "A2/N1" in text
    assert "the category is the same under all" in text
    assert "literature: >= 130 HU, 8-connected, at least 1 mm²" in text
    assert "age and sex not known" in text


def test_a_speck_that_only_some_conventions_count_is_pointed_out() -> None:
    volume = soft_tissue_volume()  # pixels of 0.25 mm2
    hu = volume.hu.copy()
    hu[3, 5, 5:8] = 150.0  # 0.75 mm2
    labels = np.where(hu > 40.0, Artery.RCA, 0).astype(np.uint8)

    text = shown(document_of(CtVolume(volume.geometry, hu), LabelMap(volume.geometry, labels)))

    assert "the category depends on the convention" in text
    (siemens,) = [line for line in text.splitlines() if "siemens" in line]
    assert "0.750" in siemens
    assert "1-10" in siemens


def test_a_report_of_another_schema_is_not_half_shown() -> None:
    document = document_of(*plaque_phantom(label=Artery.LAD))

    with pytest.raises(CommandFailed, match="--json"):
        shown({**document, "schema_version": 1})
