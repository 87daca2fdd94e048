"""``python -m model_training realism``: measure the simulator against real scans, and look."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from model_training.cases import split_seeds
from model_training.realism.report import append_log_row, code_version, compare, heart_noise_hu
from model_training.realism.scans import Level, marked_scans, read_real_scan, simulate_twin
from model_training.realism.sheets import write_sheets

console = Console()


def realism(
    *,
    real_data: Annotated[
        Path | None,
        typer.Option(help="Folder of the real scans; CACSCORE_REAL_DATA unless given."),
    ] = None,
    twins: Annotated[int, typer.Option(min=1, help="Simulated patients per real scan.")] = 3,
    first: Annotated[int, typer.Option(min=0, help="First of their seeds, of training.")] = 50_000,
    level: Annotated[
        list[Level] | None, typer.Option(help="Compare at this level only; may be repeated.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for contact sheets; they show real patients: keep them private."),
    ] = None,
    json_out: Annotated[Path | None, typer.Option(help="Also write everything as JSON.")] = None,
    log: Annotated[
        Path | None, typer.Option(help="Markdown file whose table of rounds gets a row.")
    ] = None,
    note: Annotated[str, typer.Option(help="What the row of the log says of the round.")] = "",
    pictures: Annotated[
        bool, typer.Option(help="Also train a convolutional network on the patches.")
    ] = True,
    measure: Annotated[bool, typer.Option(help="Without: contact sheets only.")] = True,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the classifiers.")] = 1,
) -> None:
    """Compare simulated patients with real scans: noise, tissues, edges, a classifier's AUC."""
    torch.set_num_threads(threads)
    folder = real_data or Path(os.environ.get("CACSCORE_REAL_DATA", ""))
    if not folder.is_dir() or (real_data is None and "CACSCORE_REAL_DATA" not in os.environ):
        raise ValueError("Set CACSCORE_REAL_DATA or --real-data to the folder of the real scans.")
    real, simulated = [], []
    for number, marked in enumerate(marked_scans()):
        if not marked.is_measured and out is None:
            continue
        scan = read_real_scan(folder, marked, level or tuple(Level))
        noise_sd_hu = heart_noise_hu(scan)
        seeds = split_seeds("train", first + number * twins, twins)
        of_scan = [simulate_twin(seed, scan, marked, noise_sd_hu=noise_sd_hu) for seed in seeds]
        console.print(f"{scan.name}: noise {noise_sd_hu:.1f} HU, {len(of_scan)} twins")
        if out is not None:
            write_sheets(out, scan, of_scan)
        if marked.is_measured:
            real.append(scan)
            simulated += of_scan
    if not measure:
        return
    report = compare(real, simulated, version=code_version(), use_pictures=pictures)
    console.print(report.markdown(), markup=False, soft_wrap=True)
    if json_out is not None:
        report.write_json(json_out)
    if log is not None:
        append_log_row(log, report.log_row(note))
