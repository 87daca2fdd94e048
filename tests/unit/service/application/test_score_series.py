"""The pipeline passes on what the segmenter has to say."""

from __future__ import annotations

from pathlib import Path

from calcium_scoring.errors import SeriesWarning
from calcium_scoring.model_input.segmentation import Segmentation
from calcium_scoring.model_input.tiling import Progress
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.volume.ct_volume import CtVolume
from service.application.score_series import score_series
from tests.fakes import ThresholdSegmenter, write_study_zip


class DoubtfulSegmenter(ThresholdSegmenter):
    """Finds what the threshold finds, and no heart."""

    def segment(self, volume: CtVolume, progress: Progress | None = None) -> Segmentation:
        found = super().segment(volume, progress)
        warning = SeriesWarning("heart_not_found", "No heart.", {"smallest_heart_ml": 150.0})
        return Segmentation(found.label_map, None, (warning,))


def test_what_the_segmenter_warns_of_stands_in_the_report(tmp_path: Path) -> None:
    upload = write_study_zip(tmp_path / "study.zip")
    workdir = tmp_path / "work"
    workdir.mkdir()

    scored = score_series(
        upload, workdir=workdir, segmenter=DoubtfulSegmenter(), protocol=LITERATURE
    )

    warnings = {warning["code"]: warning for warning in scored.document["warnings"]}
    assert warnings["heart_not_found"]["message"] == "No heart."
    # 2 slices x 25 mm2 x weight 2
    assert scored.report.total.agatston_score == 100.0
