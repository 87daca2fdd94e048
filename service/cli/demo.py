"""`cacscore demo`: the main job on a simulated patient, through the whole service, over HTTP."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Final

from rich.table import Table

from cacscore_client.documents import CalciumReport
from calcium_scoring.phantom.patient import simulate_patient
from service.application.report_terms import INTENDED_USE
from service.cli.client import service_client
from service.cli.console import progress_bars, say, stdout
from service.cli.outcome import writing
from service.cli.phantom import TRUTH, WrittenPhantom, write_phantom
from service.cli.report_view import print_warnings
from service.cli.serve import run_embedded_service
from service.cli.submit import upload_with_progress, wait_with_progress

REPORT: Final = "report.json"
MASK_DICOM: Final = "mask.dcm"
MASK_NIFTI: Final = "mask.nii.gz"
OVERLAY: Final = "overlay.png"

SCORE_TIMEOUT_S: Final = 900.0


def run_demo(out: Path, *, seed: int) -> None:
    """Make a patient, score it through a service of our own, and leave the results in ``out``."""
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    say("1/3  Simulating a patient ...")
    with progress_bars() as progress:
        progress.add_task("Simulating", total=None)
        # A gated scan of the heart in 45 slices, with calcium in the second highest category and
        # without metal, which the model's card says it mistakes for calcium.
        patient = simulate_patient(
            seed,
            kind="gated",
            spacing_between_slices_mm=3.0,
            slice_thickness_mm=3.0,
            z_extent_mm=135.0,
            burden_category="101-400",
            has_metal=False,
        )
        with writing(out / "patient"):
            phantom = write_phantom(patient, out / "patient", as_zip=True)
    say(f"     {phantom.series}\n2/3  Starting the service ...")
    results: list[CalciumReport] = []
    # A short path and a folder that vanishes: nothing of a demo is worth keeping but its results.
    data_folder = Path(tempfile.mkdtemp(prefix="cacscore-demo-"))
    try:
        run_embedded_service(
            host="127.0.0.1",
            port=0,
            data_folder=data_folder,
            on_ready=lambda url: results.append(_score_over_http(url, phantom.series, out)),
        )
    finally:
        shutil.rmtree(data_folder, ignore_errors=True)
    _print_result(results[0], phantom, out)


def _score_over_http(url: str, archive: Path, out: Path) -> CalciumReport:
    say(f"3/3  Scoring through {url} ...")
    with service_client(url) as client:
        study_id = upload_with_progress(client, archive)["id"]
        report = wait_with_progress(client, study_id, timeout_s=SCORE_TIMEOUT_S)
        text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
        files = {
            REPORT: f"{text}\n".encode(),
            MASK_DICOM: client.mask(study_id, "dicom"),
            MASK_NIFTI: client.mask(study_id, "nifti"),
            OVERLAY: client.slice_picture(study_id, _slice_to_show(report)),
        }
    with writing(out):
        for name, content in files.items():
            (out / name).write_bytes(content)
    return report


def _slice_to_show(report: CalciumReport) -> int:
    """Return the slice with most calcium, or the middle one where none was found."""
    parts = [part for lesion in report["lesions"] for part in lesion["slices"]]
    if not parts:
        return int(report["series"]["slice_count"]) // 2
    area_mm2: dict[int, float] = {}
    for part in parts:
        index = part["slice_index"]
        area_mm2[index] = area_mm2.get(index, 0.0) + part["area_mm2"]
    return max(area_mm2, key=lambda index: area_mm2[index])


def _print_result(report: CalciumReport, phantom: WrittenPhantom, out: Path) -> None:
    stdout.print("A simulated patient through the whole service:")
    table = Table()
    for heading in ("", "scored", "true"):
        table.add_column(heading, justify="left" if not heading else "right")
    scored, truth = dict(report), phantom.truth
    for quantity, key, form in (
        ("Agatston score", "agatston_score", ".3f"),
        ("Volume score, mm³", "volume_score_mm3", ".1f"),
        ("Risk category", "risk_category", "s"),
    ):
        table.add_row(quantity, format(scored[key], form), format(truth[key], form))
    table.add_row("Lesions", str(len(report["lesions"])), str(len(truth["lesions"])))
    stdout.print(table)
    print_warnings(scored, stdout)
    for name in (REPORT, MASK_DICOM, MASK_NIFTI, OVERLAY):
        stdout.print(str(out / name), markup=False, soft_wrap=True)
    stdout.print(str(phantom.series.parent / TRUTH), markup=False, soft_wrap=True)
    stdout.print(INTENDED_USE, markup=False)
