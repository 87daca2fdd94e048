"""`cacscore phantom`: simulated patients as CT series, with the truth about their calcium."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from calcium_scoring.dicom.read_series import read_ct_series
from calcium_scoring.dicom.write_series import write_ct_series, zip_files
from calcium_scoring.nifti import write_nifti
from calcium_scoring.phantom.patient import PhantomPatient, simulate_patient
from calcium_scoring.scoring.conventions import CONVENTIONS
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.scoring.report import measure_calcium
from calcium_scoring.volume.label_map import LabelMap
from service.application.report_document import report_document
from service.application.report_terms import INTENDED_USE, ReportDocument
from service.cli.console import progress_bars, say, stdout
from service.cli.outcome import writing

SERIES_FOLDER: Final = "ct"
SERIES_ZIP: Final = "ct.zip"
TRUTH_MASK: Final = "truth_mask.nii.gz"
TRUTH: Final = "truth.json"


@dataclass(frozen=True)
class WrittenPhantom:
    """Where a simulated patient lies, and the report of its true calcium."""

    series: Path
    truth_mask: Path
    truth: ReportDocument


def write_phantoms(out: Path, *, count: int, first_seed: int, as_zip: bool) -> None:
    """Write patients ``patient-0001`` and so on; print where they are and their true scores."""
    with writing(out):  # before the work
        out.mkdir(parents=True, exist_ok=True)
    with progress_bars() as progress:
        task = progress.add_task("Simulating", total=count)
        for number, seed in enumerate(range(first_seed, first_seed + count), start=1):
            folder = out / f"patient-{number:04d}"
            patient = simulate_patient(seed)
            with writing(folder):
                written = write_phantom(patient, folder, as_zip=as_zip)
            progress.advance(task)
            stdout.print(
                f"{written.series}  true Agatston score {written.truth['agatston_score']:.3f}",
                markup=False,
                soft_wrap=True,
            )
    say(INTENDED_USE)


def write_phantom(patient: PhantomPatient, folder: Path, *, as_zip: bool) -> WrittenPhantom:
    """Write series, truth mask and truth of one patient.

    The true scores are measured on the series as it was written, since files hold whole HU.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if as_zip:
        series = folder / SERIES_ZIP
        with tempfile.TemporaryDirectory(prefix="cacscore-") as scratch:
            files = write_ct_series(patient.volume, Path(scratch), seed=patient.seed)
            zip_files(files, series)
            truth, label_map = _measured(patient, Path(scratch))
    else:
        series = folder / SERIES_FOLDER
        write_ct_series(patient.volume, series, seed=patient.seed)
        truth, label_map = _measured(patient, series)
    write_nifti(label_map, folder / TRUTH_MASK)
    document: dict[str, Any] = {
        "seed": patient.seed,
        "patient_settings": asdict(patient.patient_settings),
        "scan_settings": asdict(patient.scan_settings),
        "report": truth,
    }
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / TRUTH).write_text(text + "\n", encoding="utf-8")
    return WrittenPhantom(series, folder / TRUTH_MASK, truth)


def _measured(patient: PhantomPatient, series_folder: Path) -> tuple[ReportDocument, LabelMap]:
    with tempfile.TemporaryDirectory(prefix="cacscore-") as workdir:
        series = read_ct_series(series_folder, Path(workdir))
    label_map = LabelMap(series.volume.geometry, patient.truth.labels)
    report = measure_calcium(
        series.volume,
        label_map,
        protocol=LITERATURE,
        has_artery_labels=True,
        conventions=CONVENTIONS.values(),
    )
    return (
        report_document(report, series.volume, model=None, warnings=series.warnings),
        label_map,
    )
