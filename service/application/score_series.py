"""The pipeline: from an upload to a score and its artefacts, without any server."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from calcium_scoring.dicom.read_series import CtSeries, read_ct_series
from calcium_scoring.errors import SeriesWarning
from calcium_scoring.scoring.components import account_for_components
from calcium_scoring.scoring.conventions import CONVENTIONS
from calcium_scoring.scoring.protocol import ScoringProtocol
from calcium_scoring.scoring.report import CalciumReport, measure_calcium
from calcium_scoring.scoring.uncertainty import score_uncertainty
from calcium_scoring.suitability.check_scan import check_scan
from calcium_scoring.upload.archive import ArchiveLimits
from calcium_scoring.volume.label_map import LabelMap
from service.application.categories import NOTHING_GIVEN, GivenFacts
from service.application.jobs import ModelIdentity, Stage
from service.application.ports import Segmenter
from service.application.progress import StageProgress, no_progress
from service.application.report_document import report_document
from service.application.report_terms import ReportDocument

DEFAULT_ARCHIVE_LIMITS: Final = ArchiveLimits()


@dataclass(frozen=True, eq=False)
class ScoredSeries:
    """A series with what was found in it."""

    series: CtSeries
    label_map: LabelMap
    report: CalciumReport
    model: ModelIdentity
    document: ReportDocument


def score_series(
    upload: Path,
    *,
    workdir: Path,
    segmenter: Segmenter,
    protocol: ScoringProtocol,
    mass_calibration_factor: float | None = None,
    given: GivenFacts = NOTHING_GIVEN,
    limits: ArchiveLimits = DEFAULT_ARCHIVE_LIMITS,
    progress: StageProgress = no_progress,
) -> ScoredSeries:
    """Read a zip or folder, find the calcium of its series, and measure it.

    ``workdir`` receives unpacked files and is the caller's to remove. The factor of the mass
    score is in mg / (cm3 HU); ``given`` is what a user says about the patient. Raises what
    :func:`read_ct_series` and :func:`check_scan` raise: UploadRejected and SeriesRejected with
    their reasons.
    """
    progress(Stage.READING, 0.0)
    series = read_ct_series(upload, workdir, limits)
    progress(Stage.SEGMENTING, 0.0)
    segmentation = segmenter.segment(
        series.volume, lambda done, total: progress(Stage.SEGMENTING, done / total)
    )
    scan_warnings = check_scan(series.volume, segmentation)
    progress(Stage.MEASURING, 0.0)
    volume = replace(series.volume, mass_calibration_factor=mass_calibration_factor)
    report = measure_calcium(
        volume,
        segmentation.label_map,
        protocol=protocol,
        has_artery_labels=segmenter.spec.has_artery_labels,
        conventions=CONVENTIONS.values(),
    )
    components = None
    if segmentation.voxels is not None:
        components = account_for_components(
            volume, segmentation.label_map, report.lesions, segmentation.voxels, report.protocol
        )
    document = report_document(
        report,
        volume,
        components=components,
        uncertainty=score_uncertainty(
            volume, segmentation.label_map, report.protocol, report.total.agatston_score
        ),
        model=segmenter.model,
        engine=segmenter.engine,
        warnings=(
            *series.warnings,
            *segmentation.warnings,
            *scan_warnings,
            *_mask_warnings(report.protocol.threshold_hu, segmenter.spec.threshold_hu),
        ),
        other_series=series.other_series,
        left_out_files=series.left_out_files,
        given=given,
    )
    return ScoredSeries(series, segmentation.label_map, report, segmenter.model, document)


def _mask_warnings(threshold_hu: float, mask_threshold_hu: float) -> tuple[SeriesWarning, ...]:
    """Return a warning where the score would count voxels that no mask of the network holds."""
    if threshold_hu >= mask_threshold_hu:
        return ()
    return (
        SeriesWarning(
            "mask_above_threshold",
            f"The score counts from {threshold_hu:g} HU, but the network marks calcium from "
            f"{mask_threshold_hu:g} HU only: what lies between is not in the score.",
            {"threshold_hu": threshold_hu, "mask_threshold_hu": mask_threshold_hu},
        ),
    )
