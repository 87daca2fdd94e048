"""Results in a real archive are fetched and held against the service's report, number by number."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread

from calcium_scoring.dicom.read_report import TOTAL_IDENTIFIER
from calcium_scoring.dicom.read_series import CtSeries, read_ct_series
from calcium_scoring.scoring.protocol import LITERATURE
from service.adapters.destinations.dicomweb_archive import DicomWebArchive
from service.adapters.dicom_network.archive_scu import Archive
from service.application.errors import ArchiveUnavailable
from service.application.score_series import score_series
from service.application.write_artefacts import write_artefacts
from service.cli.doctor_findings import Finding
from service.cli.doctor_path import check_returned, dicomweb_place, fetch_results, stow
from service.cli.doctor_results import ResultsSource
from tests.fakes import ThresholdSegmenter, write_study_zip
from tests.orthanc import AE_TITLE, Orthanc, running_orthanc

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

CHECKS = ["SR: score", "SR: references", "SEG: score"]
RESULTS = ("mask.dcm", "lesions.dcm", "report.dcm", "key-image-1.dcm", "report-pdf.dcm")


@pytest.fixture(autouse=True)
def _sockets_are_collected_here() -> Iterator[None]:
    """Leave no socket that pynetdicom drops unclosed to other tests."""
    yield
    gc.collect()


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    folder = tmp_path / "orthanc"
    folder.mkdir()
    with running_orthanc(folder) as one:
        yield one


@dataclass(frozen=True)
class Scored:
    """A series with an Agatston score of 100, and its results as files."""

    series: CtSeries
    files: list[Path]
    results: Path
    document: dict[str, Any]


@pytest.fixture
def scored(tmp_path: Path) -> Scored:
    zipped = write_study_zip(tmp_path / "study.zip")
    unpacked, written = tmp_path / "unpacked", tmp_path / "written"
    unpacked.mkdir()
    written.mkdir()
    found = score_series(
        zipped, workdir=unpacked, segmenter=ThresholdSegmenter(), protocol=LITERATURE
    )
    write_artefacts(found, written)
    return Scored(
        read_ct_series(tmp_path / "study", tmp_path),
        sorted((tmp_path / "study").glob("*.dcm")),
        written,
        json.loads((written / "report.json").read_text()),
    )


def by_dicomweb(orthanc: Orthanc) -> ResultsSource:
    return DicomWebArchive(dicomweb_place(orthanc.dicomweb_url, "CACSCORE_DICOMWEB"))


def by_c_get(orthanc: Orthanc) -> ResultsSource:
    return Archive("127.0.0.1", orthanc.dicom_port, AE_TITLE, "DOCTOR")


WAYS = pytest.mark.parametrize("way", [by_dicomweb, by_c_get])
Way = Callable[[Orthanc], ResultsSource]


def keep(orthanc: Orthanc, scored: Scored, *names: str) -> None:
    """Put the series and these results into the archive."""
    place = dicomweb_place(orthanc.dicomweb_url, "CACSCORE_STOW")
    stow(place, [*scored.files, *(scored.results / name for name in names)])


def checked(way: Way, orthanc: Orthanc, scored: Scored, folder: Path) -> dict[str, Finding]:
    returned = fetch_results(way(orthanc), scored.series, folder / "returned", settle_s=0.0)
    findings = check_returned(returned, scored.document, scored.series, expected_score=100.0)
    return {one.name: one for one in findings}


@WAYS
def test_results_as_the_service_wrote_them_are_right(
    way: Way, orthanc: Orthanc, scored: Scored, tmp_path: Path
) -> None:
    keep(orthanc, scored, *RESULTS)

    findings = checked(way, orthanc, scored, tmp_path)

    assert {name: one.is_ok for name, one in findings.items()} == dict.fromkeys(CHECKS, True), (
        findings
    )
    # 2 slices x 100 voxels of 0.5 mm x 0.5 mm x 3 mm
    assert findings["SEG: score"].detail.startswith("200 voxels, 150.0 mm3, drawn on the series")
    assert "Agatston score 100.0, volume 150.0 mm3" in findings["SR: score"].detail
    assert findings["SR: references"].detail == (
        "to the series that was sent and to 2 SEG that came back"
    )
    returned = fetch_results(way(orthanc), scored.series, tmp_path / "again")
    assert {len(ones) for ones in returned.files.values()} == {1, 2}
    assert sum(len(ones) for ones in returned.files.values()) == len(RESULTS)


def changed(path: Path, change: Callable[[Dataset], None]) -> None:
    document = dcmread(path)
    change(document)
    document.save_as(path)


def another_score(report: Dataset) -> None:
    """Write 12 in place of the total Agatston score."""
    (group,) = (
        one
        for one in items_below(report)
        if any(item.get("TextValue") == TOTAL_IDENTIFIER for item in one.get("ContentSequence", []))
    )
    (score,) = (
        item
        for item in group.ContentSequence
        if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeValue == "112058"
    )
    score.MeasuredValueSequence[0].NumericValue = 12


def items_below(item: Dataset) -> Iterator[Dataset]:
    for one in item.get("ContentSequence", []):
        yield one
        yield from items_below(one)


@WAYS
def test_sr_with_another_score_is_told(
    way: Way, orthanc: Orthanc, scored: Scored, tmp_path: Path
) -> None:
    changed(scored.results / "report.dcm", another_score)
    keep(orthanc, scored, *RESULTS)

    findings = checked(way, orthanc, scored, tmp_path)

    assert not findings["SR: score"].is_ok
    assert findings["SR: score"].detail == (
        "the SR in the archive has the Agatston score 12.0, the service reports 100.0: the SR was "
        "changed on its way, or is of another result."
    )
    assert findings["SEG: score"].is_ok


@WAYS
def test_seg_with_another_mask_is_told(
    way: Way, orthanc: Orthanc, scored: Scored, tmp_path: Path
) -> None:
    def erase_first_frame(mask: Dataset) -> None:
        pixels = bytearray(mask.PixelData)
        frame_bytes = 64 * 64 // 8
        pixels[:frame_bytes] = bytes(frame_bytes)
        mask.PixelData = bytes(pixels)

    changed(scored.results / "mask.dcm", erase_first_frame)
    keep(orthanc, scored, *RESULTS)

    findings = checked(way, orthanc, scored, tmp_path)

    # One of the two slices is left: 25 mm2 x weight 2
    assert findings["SEG: score"].detail == (
        "the SEG in the archive (100 voxels, 75.0 mm3) gives the Agatston score 50.0, the service "
        "reports 100.0: the SEG was changed on its way, or is of another result."
    )
    assert not findings["SEG: score"].is_ok
    assert findings["SR: score"].is_ok


def test_results_of_another_series_are_told(
    orthanc: Orthanc, scored: Scored, tmp_path: Path
) -> None:
    def refer_elsewhere(document: Dataset) -> None:
        for study in document.get("CurrentRequestedProcedureEvidenceSequence", []):
            for series in study.ReferencedSeriesSequence:
                series.SeriesInstanceUID = "1.2.3"
        for series in document.get("ReferencedSeriesSequence", []):
            series.SeriesInstanceUID = "1.2.3"

    for name in ("mask.dcm", "report.dcm"):
        changed(scored.results / name, refer_elsewhere)
    keep(orthanc, scored, *RESULTS)

    findings = checked(by_dicomweb, orthanc, scored, tmp_path)

    assert "does not refer to the series that was sent" in findings["SR: references"].detail
    assert "segmentation.referenced_series_instance_uid" in findings["SEG: score"].detail
    assert [one.is_ok for one in findings.values()] == [True, False, False]


def test_mask_that_the_archive_does_not_have_is_told(
    orthanc: Orthanc, scored: Scored, tmp_path: Path
) -> None:
    keep(orthanc, scored, "lesions.dcm", "report.dcm")

    findings = checked(by_c_get, orthanc, scored, tmp_path)

    assert "refers to 1 masks that the archive does not have" in findings["SR: references"].detail
    assert findings["SEG: score"].detail.startswith("of 1 SEG in the archive 0 have the content")
    assert not findings["SEG: score"].is_ok


def test_sr_that_somebody_else_wrote_is_told(
    orthanc: Orthanc, scored: Scored, tmp_path: Path
) -> None:
    def forget_the_total(report: Dataset) -> None:
        for item in items_below(report):
            if item.get("TextValue") == TOTAL_IDENTIFIER:
                item.TextValue = "Something else"

    changed(scored.results / "report.dcm", forget_the_total)
    keep(orthanc, scored, "report.dcm")
    folder = tmp_path / "folder"
    folder.mkdir()
    identity = scored.series.volume.identity
    assert identity is not None

    source = by_c_get(orthanc)
    found = source.series(identity.study_instance_uid)
    assert {one.modality for one in found} == {"CT", "SR"}
    with pytest.raises(Exception, match="no measurement group 'Coronary calcium, total'"):
        fetch_results(source, scored.series, folder, settle_s=0.0)


def test_archive_that_does_not_give_to_an_unknown_ae_title_is_told(
    tmp_path: Path, scored: Scored
) -> None:
    folder = tmp_path / "orthanc"
    folder.mkdir()
    with running_orthanc(folder, settings={"DicomAlwaysAllowGet": False}) as orthanc:
        keep(orthanc, scored, *RESULTS)
        with pytest.raises(ArchiveUnavailable, match=r"ends the association at C-GET.*may DOCTOR"):
            checked(by_c_get, orthanc, scored, tmp_path)


def test_service_that_is_no_dicomweb_is_told(orthanc: Orthanc) -> None:
    wrong = DicomWebArchive(dicomweb_place(f"{orthanc.url}/elsewhere", "CACSCORE_DICOMWEB"))
    with pytest.raises(ArchiveUnavailable, match="answers QIDO-RS with HTTP 404"):
        wrong.check()


def test_dicomweb_service_that_wants_a_password_gets_that_of_the_environment(
    tmp_path: Path, scored: Scored, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "orthanc"
    folder.mkdir()
    users = {"AuthenticationEnabled": True, "RegisteredUsers": {"reader": "secret of the test"}}
    with running_orthanc(
        folder, settings=users, credentials=("reader", "secret of the test")
    ) as orthanc:
        with pytest.raises(ArchiveUnavailable, match="answers QIDO-RS with HTTP 401"):
            DicomWebArchive(dicomweb_place(orthanc.dicomweb_url, "CACSCORE_DICOMWEB")).check()
        for prefix in ("CACSCORE_DICOMWEB", "CACSCORE_STOW"):
            monkeypatch.setenv(f"{prefix}_USERNAME", "reader")
            monkeypatch.setenv(f"{prefix}_PASSWORD", "secret of the test")
        keep(orthanc, scored, *RESULTS)
        findings = checked(by_dicomweb, orthanc, scored, tmp_path)
    assert [one.is_ok for one in findings.values()] == [True, True, True]
