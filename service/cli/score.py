"""`cacscore score`: the pipeline of the worker, in this process."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from calcium_scoring.dicom.write_segmentation import write_segmentation
from calcium_scoring.nifti import write_nifti
from calcium_scoring.rendering import render_key_slice
from service.adapters.onnx.segmenter import OnnxSegmenter
from service.application.jobs import Stage
from service.application.progress import overall_progress
from service.application.score_series import ScoredSeries, score_series
from service.cli.choices import ScoreChoices
from service.cli.console import print_json, progress_bars, say, stdout
from service.cli.environment import settings_from_environment
from service.cli.outcome import UsageMistake, writing
from service.cli.report_view import print_report

NIFTI_SUFFIXES: Final = (".nii", ".nii.gz")
DICOM_SUFFIXES: Final = (".dcm",)
PICTURE_SUFFIXES: Final = (".png",)


def score_upload(
    path: Path,
    *,
    wants_json: bool,
    mask_out: Path | None,
    overlay_out: Path | None,
    model_file: Path | None,
    choices: ScoreChoices,
) -> None:
    """Score a zip or folder, print the report and write what was asked for."""
    # Before the work: a wrong suffix should not cost minutes.
    check_suffix(mask_out, (*DICOM_SUFFIXES, *NIFTI_SUFFIXES), "--mask-out")
    check_suffix(overlay_out, PICTURE_SUFFIXES, "--overlay-out")
    settings = settings_from_environment()
    segmenter = OnnxSegmenter(
        model_file or settings.model_path,
        providers=settings.onnx_providers,
        threads=settings.onnx_threads,
    )
    with tempfile.TemporaryDirectory(prefix="cacscore-") as workdir, progress_bars() as progress:
        task = progress.add_task("Reading", total=1.0)

        def show(stage: Stage, fraction: float) -> None:
            progress.update(
                task,
                description=stage.value.capitalize(),
                completed=overall_progress(stage, fraction),
            )

        scored = score_series(
            path,
            workdir=Path(workdir),
            segmenter=segmenter,
            protocol=choices.protocol,
            mass_calibration_factor=choices.mass_calibration_factor,
            given=choices.given,
            progress=show,
        )
        if mask_out is not None:
            with writing(mask_out):
                _write_mask(scored, mask_out)
        if overlay_out is not None:
            picture = render_key_slice(scored.series.volume, scored.label_map)
            with writing(overlay_out):
                overlay_out.write_bytes(picture)
    if wants_json:
        print_json(scored.document)
    else:
        print_report(scored.document, stdout)
    for written in (mask_out, overlay_out):
        if written is not None:
            say(f"Written: {written}")


def check_suffix(path: Path | None, accepted: tuple[str, ...], option: str) -> None:
    """Raise UsageMistake unless the file name ends as the option needs it, or its folder lacks."""
    if path is None:
        return
    if not path.name.lower().endswith(accepted):
        raise UsageMistake(
            f"{option} {path.name}: the name must end in {' or '.join(accepted)}, which says what "
            "to write."
        )
    if not path.parent.is_dir():
        raise UsageMistake(f"{option} {path}: the folder {path.parent} does not exist.")


def _write_mask(scored: ScoredSeries, path: Path) -> None:
    if path.name.lower().endswith(DICOM_SUFFIXES):
        write_segmentation(scored.label_map, scored.series, scored.model, path)
    else:
        write_nifti(scored.label_map, path)
