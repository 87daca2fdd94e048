"""`cacscore score`: the pipeline of the worker, in this process."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from calcium_scoring.dicom.write_encapsulated_pdf import write_encapsulated_pdf
from calcium_scoring.dicom.write_segmentation import write_segmentation
from calcium_scoring.nifti import write_nifti
from calcium_scoring.rendering import render_key_slice
from calcium_scoring.volume.segmentation_kind import SegmentationKind
from service.adapters.onnx.segmenter import OnnxSegmenter
from service.adapters.signing.ed25519 import Ed25519Signer
from service.application.jobs import Stage
from service.application.progress import overall_progress
from service.application.score_series import score_series
from service.application.write_artefacts import Result, write_artefacts
from service.cli.choices import ScoreChoices
from service.cli.console import print_json, progress_bars, say, stdout
from service.cli.environment import settings_from_environment
from service.cli.outcome import UsageMistake, writing
from service.cli.report_view import print_report

NIFTI_SUFFIXES: Final = (".nii", ".nii.gz")
DICOM_SUFFIXES: Final = (".dcm",)
PICTURE_SUFFIXES: Final = (".png",)
FHIR_SUFFIXES: Final = (".json",)
PDF_DICOM_SUFFIX: Final = ".pdf.dcm"
REPORT_SUFFIXES: Final = (".json", ".dcm", ".pdf", PDF_DICOM_SUFFIX, ".csv")


@dataclass(frozen=True)
class Outputs:
    """Which files are wanted; None for those that are not.

    ``mask`` is DICOM SEG (of ``mask_kind``) or NIfTI, ``report`` JSON, DICOM SR, PDF, DICOM PDF or
    CSV, each by the end of its name; ``folder`` receives every file that the service would keep.
    """

    mask: Path | None = None
    mask_kind: SegmentationKind = SegmentationKind.BINARY
    overlay: Path | None = None
    report: Path | None = None
    fhir: Path | None = None
    folder: Path | None = None

    def check(self) -> None:
        """Raise UsageMistake for a name that does not say what to write."""
        check_suffix(self.mask, (*DICOM_SUFFIXES, *NIFTI_SUFFIXES), "--mask-out")
        check_suffix(self.overlay, PICTURE_SUFFIXES, "--overlay-out")
        check_suffix(self.report, REPORT_SUFFIXES, "--report-out")
        check_suffix(self.fhir, FHIR_SUFFIXES, "--fhir-out")

    @property
    def paths(self) -> list[Path]:
        """What will have been written."""
        named = (self.mask, self.overlay, self.report, self.fhir, self.folder)
        return [path for path in named if path is not None]


def score_upload(
    path: Path,
    *,
    wants_json: bool,
    outputs: Outputs,
    model_file: Path | None,
    choices: ScoreChoices,
) -> None:
    """Score a zip or folder, print the report and write what was asked for."""
    # Before the work: a wrong suffix should not cost minutes.
    outputs.check()
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
        _write_outputs(Result.of(scored), outputs)
        if outputs.folder is not None:
            with writing(outputs.folder):
                outputs.folder.mkdir(parents=True, exist_ok=True)
                signer = Ed25519Signer(settings.signing_key_path)
                write_artefacts(scored, outputs.folder, show, signer)
    if wants_json:
        print_json(scored.document)
    else:
        print_report(scored.document, stdout)
    for written in outputs.paths:
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


def _write_outputs(result: Result, outputs: Outputs) -> None:
    if outputs.mask is not None:
        with writing(outputs.mask):
            _write_mask(result, outputs.mask, outputs.mask_kind)
    if outputs.overlay is not None:
        picture = render_key_slice(result.series.volume, result.label_map)
        with writing(outputs.overlay):
            outputs.overlay.write_bytes(picture)
    if outputs.report is not None:
        with writing(outputs.report):
            _write_report(result, outputs.report)
    if outputs.fhir is not None:
        with writing(outputs.fhir):
            result.write_fhir(outputs.fhir)


def _write_mask(result: Result, path: Path, kind: SegmentationKind) -> None:
    if path.name.lower().endswith(DICOM_SUFFIXES):
        write_segmentation(result.label_map, result.series, result.model, path, kind=kind)
    else:
        write_nifti(result.label_map, path)


def _write_report(result: Result, path: Path) -> None:
    name = path.name.lower()
    if name.endswith(PDF_DICOM_SUFFIX):
        write_encapsulated_pdf(result.pdf, result.series, model=result.model, out=path)
    elif name.endswith(".dcm"):
        result.write_sr(path)
    elif name.endswith(".pdf"):
        result.write_pdf(path)
    elif name.endswith(".csv"):
        result.write_csv(path)
    else:
        result.write_json(path)
