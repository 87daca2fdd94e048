"""`cacscore submit`: send a series to a service, and wait for its score."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.progress import DownloadColumn, Progress, TaskID, TransferSpeedColumn

from cacscore_client import CacscoreClient
from cacscore_client.archive import packed
from cacscore_client.documents import CalciumReport, Priority, Study
from cacscore_client.watching import StudyState
from service.application.report_terms import INTENDED_USE
from service.cli.client import service_client
from service.cli.console import print_json, progress_bars, say, stdout
from service.cli.report_view import print_report


def submit(
    url: str,
    path: Path,
    *,
    waits: bool,
    wants_json: bool,
    timeout_s: float,
    api_key: str | None = None,
    priority: Priority = "routine",
    callback_url: str | None = None,
) -> None:
    """Upload a zip or a folder; print the study, or with ``waits`` its report."""
    with service_client(url, api_key=api_key) as client, zip_of(path) as archive:
        study = upload_with_progress(client, archive, priority=priority, callback_url=callback_url)
        if not waits:
            print_study(client.url, study, wants_json=wants_json)
            return
        say(f"Study {study['id']} is {study['status']}.")
        report = wait_with_progress(client, study["id"], timeout_s=timeout_s)
    if wants_json:
        print_json(report)
    else:
        print_report(dict(report), stdout)


def upload_with_progress(
    client: CacscoreClient,
    archive: Path,
    *,
    priority: Priority = "routine",
    callback_url: str | None = None,
) -> Study:
    """Upload an archive under a progress bar; return the study."""
    with progress_bars(DownloadColumn(), TransferSpeedColumn()) as progress:
        task = progress.add_task("Uploading", total=archive.stat().st_size)
        return client.submit(
            archive,
            priority=priority,
            callback_url=callback_url,
            on_bytes=lambda count: progress.advance(task, count),
        )


def wait_with_progress(client: CacscoreClient, study_id: str, *, timeout_s: float) -> CalciumReport:
    """Wait for the score of a study under a progress bar."""
    with progress_bars() as progress:
        task = progress.add_task("Waiting", total=1.0)
        return client.wait_for_score(
            study_id,
            timeout_s=timeout_s,
            on_progress=lambda state: _show_state(progress, task, state),
        )


def _show_state(progress: Progress, task: TaskID, state: StudyState) -> None:
    progress.update(task, description=state["stage"].capitalize(), completed=state["progress"])


@contextmanager
def zip_of(path: Path) -> Iterator[Path]:
    """Give a zip for the path: itself, or a temporary archive of a folder, under a progress bar."""
    with ExitStack() as stack:
        with progress_bars() as progress:
            task = progress.add_task("Packing", visible=path.is_dir())
            archive = stack.enter_context(
                packed(path, on_file=lambda n, of: progress.update(task, completed=n, total=of))
            )
        yield archive


def print_study(url: str, study: Study, *, wants_json: bool) -> None:
    """Print a study: where it stands, and where its score will be."""
    if wants_json:
        print_json({**study, "intended_use": INTENDED_USE})
        return
    place = study["queue_position"]
    waiting = "" if place is None else f", number {place} in the queue"
    stdout.print(f"Study {study['id']} is {study['status']}{waiting}.", markup=False)
    stdout.print(f"Score: {url}/studies/{study['id']}/score", markup=False, soft_wrap=True)
    for push in study.get("pushes", ()):
        words = "" if push["detail"] is None else f" ({push['detail']})"
        line = f"Results to {push['destination']}: {push['state']}{words}"
        stdout.print(line, markup=False, soft_wrap=True)
    stdout.print(INTENDED_USE, markup=False)
