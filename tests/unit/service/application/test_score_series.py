"""The pipeline passes on what the segmenter has to say, and what was chosen about the score."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from calcium_scoring.errors import SeriesWarning
from calcium_scoring.model_input.segmentation import Segmentation
from calcium_scoring.model_input.tiling import Progress
from calcium_scoring.scoring.conventions import CONVENTIONS
from calcium_scoring.scoring.protocol import LITERATURE, ScoringProtocol
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.patient import Sex
from service.application.categories import GivenFacts
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


def test_every_convention_mass_and_given_facts_reach_the_report(tmp_path: Path) -> None:
    upload = write_study_zip(tmp_path / "study.zip")
    workdir = tmp_path / "work"
    workdir.mkdir()

    document = score_series(
        upload,
        workdir=workdir,
        segmenter=ThresholdSegmenter(),
        protocol=LITERATURE,
        mass_calibration_factor=0.8,
        given=GivenFacts(62, Sex.FEMALE),
    ).document

    assert [one["name"] for one in document["conventions"]] == list(CONVENTIONS)[1:]
    # 0.8 mg/(cm3 HU) x 250 HU x 0.15 cm3
    assert document["mass_score_mg"] == pytest.approx(30.0)
    # women of 60 to 64: 0/3/57/193
    assert document["categories"]["hoff_percentile"]["value"] == "75-90"


@pytest.mark.parametrize(
    ("protocol", "is_warned"),
    [
        (LITERATURE, False),
        (replace(LITERATURE, threshold_hu=119.0), True),
    ],
)
def test_calcium_that_the_network_never_marks_is_warned_of(
    protocol: ScoringProtocol, is_warned: bool, tmp_path: Path
) -> None:
    upload = write_study_zip(tmp_path / "study.zip")
    workdir = tmp_path / "work"
    workdir.mkdir()

    document = score_series(
        upload, workdir=workdir, segmenter=ThresholdSegmenter(), protocol=protocol
    ).document

    codes = [warning["code"] for warning in document["warnings"]]
    assert ("mask_above_threshold" in codes) is is_warned
