"""`cacscore submit`: send a series to a service, and wait for its score."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rich.progress import DownloadColumn, Progress, TaskID, TransferSpeedColumn

from service.application.report_document import INTENDED_USE, ReportDocument
from service.cli.client import ServiceClient
from service.cli.console import print_json, progress_bars, say, stdout
from service.cli.outcome import UsageMistake
from service.cli.report_view import print_report

ZIP_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest date of the format: the same folder always gives the same bytes."""


def submit(
    url: str,
    path: Path,
    *,
    waits: bool,
    wants_json: bool,
    timeout_s: float,
    api_key: str | None = None,
    params: Mapping[str, str] | None = None,
) -> None:
    """Upload a zip or a folder; print the study, or with ``waits`` its report.

    ``params`` are those of ``POST /studies``, such as the priority.
    """
    with ServiceClient(url, api_key=api_key) as client, zip_of(path) as archive:
        study = upload_with_progress(client, archive, params=params)
        if not waits:
            print_study(client, study, wants_json=wants_json)
            return
        say(f"Study {study['id']} is {study['status']}.")
        report = wait_with_progress(client, study["id"], timeout_s=timeout_s)
    if wants_json:
        print_json(report)
    else:
        print_report(report, stdout)


def upload_with_progress(
    client: ServiceClient, archive: Path, *, params: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Upload an archive under a progress bar; return the study."""
    with progress_bars(DownloadColumn(), TransferSpeedColumn()) as progress:
        task = progress.add_task("Uploading", total=archive.stat().st_size)
        return client.upload(archive, lambda count: progress.advance(task, count), params=params)


def wait_with_progress(client: ServiceClient, study_id: str, *, timeout_s: float) -> ReportDocument:
    """Wait for the score of a study under a progress bar."""
    with progress_bars() as progress:
        task = progress.add_task("Waiting", total=1.0)
        return client.wait_for_score(
            study_id,
            timeout_s=timeout_s,
            on_progress=lambda study: _show_study(progress, task, study),
        )


def _show_study(progress: Progress, task: TaskID, study: dict[str, Any]) -> None:
    progress.update(task, description=str(study["stage"]).capitalize(), completed=study["progress"])


@contextmanager
def zip_of(path: Path) -> Iterator[Path]:
    """Give a zip for the path: itself, or a temporary archive of all files of a folder.

    The files of a folder are named by number in the archive: names of folders and files often hold
    names of patients.
    """
    if path.is_file():
        yield path
        return
    files = sorted(file for file in path.rglob("*") if file.is_file())
    if not files:
        raise UsageMistake(f"The folder {path} holds no files.")
    with tempfile.TemporaryDirectory(prefix="cacscore-") as folder:
        archive = Path(folder) / "series.zip"
        with progress_bars() as progress, zipfile.ZipFile(archive, "w") as writer:
            for number, file in enumerate(progress.track(files, description="Packing"), start=1):
                entry = zipfile.ZipInfo(f"{number:06d}.dcm", ZIP_EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                writer.writestr(entry, file.read_bytes(), compresslevel=1)
        yield archive


def print_study(client: ServiceClient, study: dict[str, Any], *, wants_json: bool) -> None:
    """Print a study: where it stands, and where its score will be."""
    if wants_json:
        print_json({**study, "intended_use": INTENDED_USE})
        return
    place = study.get("queue_position")
    waiting = "" if place is None else f", number {place} in the queue"
    stdout.print(f"Study {study['id']} is {study['status']}{waiting}.", markup=False)
    stdout.print(f"Score: {client.url}/studies/{study['id']}/score", markup=False, soft_wrap=True)
    for push in study.get("pushes", ()):
        words = "" if push["detail"] is None else f" ({push['detail']})"
        line = f"Results to {push['destination']}: {push['state']}{words}"
        stdout.print(line, markup=False, soft_wrap=True)
    stdout.print(INTENDED_USE, markup=False)
