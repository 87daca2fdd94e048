"""Every file of a result, for series that are not as usual."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from fhir.resources.R4B.bundle import Bundle
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes

from calcium_scoring.dicom.read_series import CtSeries, read_ct_series
from calcium_scoring.scoring.conventions import CONVENTIONS
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.scoring.report import measure_calcium
from calcium_scoring.volume.label_map import CORONARY, Artery, LabelMap
from service.application.artefact_names import PREVIEW
from service.application.jobs import ModelIdentity
from service.application.report_document import report_document
from service.application.score_series import ScoredSeries
from service.application.write_artefacts import write_artefacts
from tests.dciodvfy import errors_of_dciodvfy
from tests.series_builders import set_attributes, write_enhanced, write_series

MODEL = ModelIdentity("calcium-segmenter", "1.2.3", "ab" * 32, is_provisional=True)

IODS = {
    "mask.dcm": "Segmentation",
    "report.dcm": "Comprehensive3DSR",
    "report-pdf.dcm": "EncapsulatedPDF",
    "key-image-1.dcm": "SCImage",
}


def result_of(
    series: CtSeries, labels: tuple[int, ...] = (Artery.LAD,), *, has_artery_labels: bool = True
) -> ScoredSeries:
    """One square of 4 x 4 pixels of 300 HU in one slice for each label: 4 mm2 x weight 3 = 12."""
    hu = np.full(series.volume.hu.shape, 40.0, dtype=np.float32)
    array = np.zeros(hu.shape, dtype=np.uint8)
    for place, label in enumerate(labels):
        square = np.s_[2 + 2 * place, 10:14, 20:24]
        hu[square], array[square] = 300.0, label
    volume = replace(series.volume, hu=hu)
    label_map = LabelMap(volume.geometry, array)
    report = measure_calcium(
        volume,
        label_map,
        protocol=LITERATURE,
        has_artery_labels=has_artery_labels,
        conventions=CONVENTIONS.values(),
    )
    document = report_document(report, volume, model=MODEL, warnings=series.warnings)
    return ScoredSeries(replace(series, volume=volume), label_map, report, MODEL, document)


def read(folder: Path, change: Callable[[list[Path]], object] = lambda _: None) -> CtSeries:
    paths = write_series(folder / "series")
    change(paths)
    return read_ct_series(folder / "series", folder)


def written(scored: ScoredSeries, folder: Path) -> Path:
    out = folder / "out"
    out.mkdir(exist_ok=True)
    assert sorted(write_artefacts(scored, out)) == sorted(path.name for path in out.iterdir())
    return out


def numbers_of(group: Dataset) -> dict[str, float]:
    return {
        item.ConceptNameCodeSequence[0].CodeMeaning: float(
            item.MeasuredValueSequence[0].NumericValue
        )
        for item in group.ContentSequence
        if item.ValueType == "NUM"
    }


def groups_of(out: Path) -> dict[str, Dataset]:
    """Return the measurement groups of the SR by their tracking identifier."""
    report = dcmread(out / "report.dcm")
    (measurements,) = [
        item
        for item in report.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == codes.DCM.ImagingMeasurements.value
    ]
    return {group.ContentSequence[0].TextValue: group for group in measurements.ContentSequence}


def assert_valid(out: Path) -> None:
    for name, iod in IODS.items():
        assert errors_of_dciodvfy(out / name, iod) == [], name
    Bundle.model_validate(json.loads((out / "report.fhir.json").read_text(encoding="utf-8")))
    assert len(pypdfium2.PdfDocument(out / "report.pdf")) == 1


def test_a_series_without_calcium_gives_every_file_but_those_of_lesions(tmp_path: Path) -> None:
    out = written(result_of(read(tmp_path), ()), tmp_path)

    assert_valid(out)
    assert not list(out.glob("lesions*"))
    groups = groups_of(out)
    assert list(groups) == ["Coronary calcium, total", *(f"{one.name} calcium" for one in Artery)]
    assert numbers_of(groups["RCA calcium"])["Calcium score"] == 0.0


def test_scores_of_total_arteries_and_lesions_stand_in_groups_of_their_own(tmp_path: Path) -> None:
    out = written(result_of(read(tmp_path), (Artery.LAD, Artery.RCA)), tmp_path)

    scores = {name: numbers_of(group)["Calcium score"] for name, group in groups_of(out).items()}
    # 4 mm2 x weight 3 in a slice of 3 mm
    assert scores == {
        "Coronary calcium, total": 24.0,
        "LM calcium": 0.0,
        "LAD calcium": 12.0,
        "LCX calcium": 0.0,
        "RCA calcium": 12.0,
        "Lesion 1 (LAD)": 12.0,
        "Lesion 2 (RCA)": 12.0,
    }


def test_calcium_without_an_artery_is_one_group_of_the_coronary_arteries(tmp_path: Path) -> None:
    scored = result_of(read(tmp_path), (CORONARY,), has_artery_labels=False)

    out = written(scored, tmp_path)

    assert_valid(out)
    assert list(groups_of(out)) == [
        "Coronary calcium, total",
        "Coronary calcium",
        "Lesion 1 (coronary)",
    ]


def test_frames_of_one_object_are_one_instance_of_the_evidence(tmp_path: Path) -> None:
    singles = write_series(tmp_path / "singles")
    folder = tmp_path / "enhanced"
    folder.mkdir()
    write_enhanced(folder / "enhanced.dcm", singles)
    series = read_ct_series(folder, tmp_path)

    out = written(result_of(series), tmp_path)

    assert_valid(out)
    (study,) = dcmread(out / "report.dcm").CurrentRequestedProcedureEvidenceSequence
    source = study.ReferencedSeriesSequence[0]
    assert len(source.ReferencedSOPSequence) == 1
    record = json.loads((out / "provenance.json").read_text())
    assert len(record["inputs"]) == 1
    assert record["signature"] is None


def test_words_of_any_script_reach_dicom_and_never_break_the_page(tmp_path: Path) -> None:
    def rename(paths: list[Path]) -> None:
        set_attributes(
            paths,
            SpecificCharacterSet="ISO_IR 192",
            PatientName="Müller^Ångström=山田^太郎",
            SeriesDescription="石灰化スコア",
        )

    out = written(result_of(read(tmp_path, rename)), tmp_path)

    assert_valid(out)
    assert str(dcmread(out / "report.dcm").PatientName) == "Müller^Ångström=山田^太郎"
    words = pypdfium2.PdfDocument(out / "report.pdf")[0].get_textpage().get_text_range()
    # A name is never printed; a description that the fonts cannot print is said to be missing.
    assert "ller" not in words
    assert "Series without description" in words


@pytest.mark.parametrize("name", ["StudyDate", "SeriesNumber", "StudyDescription", "PatientID"])
def test_what_the_source_lacks_is_empty_or_absent(tmp_path: Path, name: str) -> None:
    def remove(paths: list[Path]) -> None:
        set_attributes(paths, **{name: None})

    assert_valid(written(result_of(read(tmp_path, remove)), tmp_path))


def test_the_same_result_is_the_same_bytes(tmp_path: Path) -> None:
    scored = result_of(read(tmp_path))
    first = {path.name: path.read_bytes() for path in written(scored, tmp_path).iterdir()}

    second = {path.name: path.read_bytes() for path in written(scored, tmp_path).iterdir()}

    assert second == first
    assert PREVIEW in first
