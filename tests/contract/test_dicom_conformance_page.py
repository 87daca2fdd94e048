"""docs/dicom-conformance.md says what the code does, and the code writes what it says."""

from __future__ import annotations

from pathlib import Path

from pydicom import dcmread

from calcium_scoring.dicom.acceptance import WRITTEN_SOP_CLASSES
from calcium_scoring.scoring.protocol import LITERATURE
from service.adapters.dicom_network.conformance import conformance_text
from service.application.score_series import score_series
from service.application.write_artefacts import write_artefacts
from tests.fakes import ThresholdSegmenter, write_study_zip


def test_page_is_what_the_code_says(repository: Path) -> None:
    page = (repository / "docs" / "dicom-conformance.md").read_text(encoding="utf-8")

    assert page == conformance_text(), "run `make conformance`"


def test_every_object_of_a_result_is_in_the_statement(tmp_path: Path) -> None:
    archive = write_study_zip(tmp_path / "study.zip")
    unpacked, written = tmp_path / "unpacked", tmp_path / "written"
    unpacked.mkdir()
    written.mkdir()
    scored = score_series(
        archive, workdir=unpacked, segmenter=ThresholdSegmenter(), protocol=LITERATURE
    )
    names = write_artefacts(scored, written)

    kinds = {
        str(dcmread(written / name, stop_before_pixels=True).SOPClassUID)
        for name in names
        if name.endswith(".dcm")
    }

    on_request = {uid for what, uid in WRITTEN_SOP_CLASSES if "on request" in what}
    assert kinds == {uid for _, uid in WRITTEN_SOP_CLASSES} - on_request
