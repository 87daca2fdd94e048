"""Series made here go through the running service; their scores are worked out on paper."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless

from calcium_scoring.dicom.write_series import write_ct_series, zip_files
from tests.e2e.running_service import RunningService
from tests.fakes import plaque_volume
from tests.series_builders import set_attributes

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(900),
]


def test_jpeg_2000_series_without_uids_is_decoded_scored_and_warned_of(
    paper_service: RunningService, tmp_path: Path
) -> None:
    files = write_ct_series(
        plaque_volume(), tmp_path / "series", seed=1, transfer_syntax_uid=JPEG2000Lossless
    )
    set_attributes(
        files,
        StudyInstanceUID=None,
        SeriesInstanceUID=None,
        SOPInstanceUID=None,
        FrameOfReferenceUID=None,
    )
    assert dcmread(files[0]).file_meta.TransferSyntaxUID == JPEG2000Lossless
    study_id = paper_service.upload(zip_files(files, tmp_path / "series.zip")).document["id"]

    paper_service.wait_until_final(study_id)
    answer = paper_service.curl(f"/studies/{study_id}/score")

    assert answer.status == 200, answer
    # 2 slices of 25 mm2 x weight 2, 3 mm apart: every pixel is as it was before compression
    assert answer.document["agatston_score"] == pytest.approx(100.0)
    assert answer.document["lesions"][0]["mean_hu"] == pytest.approx(250.0)
    (warning,) = [one for one in answer.document["warnings"] if one["code"] == "missing_uids"]
    assert set(warning["evidence"]["attributes"]) == {
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SOPInstanceUID",
        "FrameOfReferenceUID",
    }
    assert paper_service.curl(f"/studies/{study_id}/mask").status == 200
