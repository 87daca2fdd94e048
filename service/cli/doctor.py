"""`cacscore doctor`: an installation is complete, and a scan comes through the site's own path."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from rich.table import Table

from calcium_scoring.errors import CacscoreError
from calcium_scoring.version import __version__
from service.adapters.database.engine import open_engine
from service.adapters.database.operations_record import SqlOperationsRecord
from service.adapters.database.schema import require_current_schema
from service.adapters.onnx.segmenter import OnnxSegmenter
from service.adapters.queue.celery_queue import CeleryJobQueue, celery_app
from service.adapters.queue.no_queue import NoJobQueue
from service.adapters.signing.ed25519 import Ed25519Signer
from service.adapters.storage.open_store import open_artefact_store
from service.application.errors import WorkerUnavailable
from service.application.operations import worker_problem
from service.application.ports import JobQueue
from service.application.report_terms import INTENDED_USE
from service.cli.console import print_json, say, stdout
from service.cli.environment import settings_from_environment
from service.cli.outcome import CommandFailed, Refused, UsageMistake
from service.settings import Settings

POLL_S: Final = 2.0
"""How often the service and the archive are asked whether the results are there; our choice."""

SCORE_TOLERANCE: Final = 0.01
"""Part by which the score of the service may differ from that of this machine: another runtime or
accelerator rounds differently. Our choice."""

NEWEST_STUDIES: Final = 50
"""Among so many the scan that was sent is looked for; our choice."""

RETURNED_MODALITIES: Final = frozenset({"SEG", "SR"})


@dataclass(frozen=True)
class Finding:
    """What came of one check: ``detail`` says what was found, or what is wrong."""

    name: str
    is_ok: bool
    detail: str


@dataclass(frozen=True)
class SitePath:
    """The way of a scan: sent to an archive, scored by the service at ``url``."""

    host: str
    port: int
    ae_title: str
    calling_ae_title: str
    url: str
    timeout_s: float
    expects_return: bool
    seed: int | None = None
    """Of the simulated patient; a new one each time where it is None."""


def host_and_port(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT``; UsageMistake where it is not that."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageMistake(f"{text!r} must be HOST:PORT, such as pacs.example.org:104.")
    return host.strip("[]"), int(port)


def run_doctor(path: SitePath | None, *, wants_json: bool) -> None:
    """Make all checks and print the sheet; CommandFailed where one of them failed."""
    settings = settings_from_environment()
    findings = check_installation(settings) if path is None else check_site_path(settings, path)
    failed = sum(not one.is_ok for one in findings)
    if wants_json:
        print_json(
            {
                "is_ok": not failed,
                "version": __version__,
                "checks": [
                    {"name": one.name, "is_ok": one.is_ok, "detail": one.detail} for one in findings
                ],
                "intended_use": INTENDED_USE,
            }
        )
    else:
        stdout.print(_sheet(findings))
        stdout.print(f"cacscore {__version__}. {INTENDED_USE}", markup=False)
    if failed:
        raise CommandFailed(f"{failed} of {len(findings)} checks failed.")


def check_installation(settings: Settings) -> list[Finding]:
    """Check every part that an installation needs, on this machine and with its settings."""
    engine = open_engine(settings.record_url)
    queue: JobQueue = NoJobQueue()
    if settings.broker_url is not None:
        queue = CeleryJobQueue(celery_app(settings.broker_url.get_secret_value()))
    operations = SqlOperationsRecord(engine, lost_after=timedelta(seconds=settings.worker_lost_s))
    artefacts = open_artefact_store(
        settings.data_dir / "artefacts",
        s3=settings.s3_location,
        reserve_bytes=settings.disk_reserve_bytes,
    )

    def record() -> str:
        require_current_schema(engine)
        return "reached, with the schema of this release"

    def broker() -> str:
        return f"reached, {queue.depth()} messages wait"

    def store() -> str:
        artefacts.check()
        return f"can be written, {artefacts.free_bytes() / 2**30:.1f} GiB free"

    def model() -> str:
        segmenter = OnnxSegmenter(settings.model_path, providers=settings.onnx_providers)
        provisional = ", provisional" if segmenter.model.is_provisional else ""
        return f"{segmenter.model.name} {segmenter.model.version}{provisional} can be loaded"

    def worker() -> str:
        problem = worker_problem(operations.workers())
        if problem is not None:
            raise WorkerUnavailable(problem)
        return "ready"

    def key() -> str:
        Ed25519Signer(settings.signing_key_path).sign(b"doctor")
        return "signs"

    checks = (
        ("record", record),
        ("broker", broker),
        ("artefact store", store),
        ("model", model),
        ("worker", worker),
        ("signing key", key),
        ("routing rules", lambda: _rules(settings)),
    )
    try:
        return [
            Finding("settings", is_ok=True, detail="possible"),
            *(_finding(name, check) for name, check in checks),
        ]
    finally:
        engine.dispose()


def check_site_path(settings: Settings, path: SitePath) -> list[Finding]:
    """Send a simulated patient to the archive and wait for what comes of it.

    Later checks are left out where an earlier one fails: they would fail for the same reason.
    """
    from service.adapters.dicom_network.archive_scu import Archive  # noqa: PLC0415

    archive = Archive(path.host, path.port, path.ae_title, path.calling_ae_title)
    findings: list[Finding] = []

    def is_passed(name: str, check: Callable[[], str]) -> bool:
        say(f"{name} ...")
        findings.append(_finding(name, check))
        return findings[-1].is_ok

    def echo() -> str:
        archive.echo()
        return f"{path.ae_title} at {path.host} port {path.port} answers C-ECHO"

    if not is_passed("archive", echo):
        return findings
    with tempfile.TemporaryDirectory(prefix="cacscore-doctor-") as folder:
        say("Simulating a patient and scoring it here ...")
        scan = _simulated_scan(settings, Path(folder), path.seed)
        score: list[float] = []

        def send() -> str:
            archive.store(scan.files)
            return f"{len(scan.files)} slices were taken"

        def wait_for_score() -> str:
            score.append(_score_from_service(path, scan.series_instance_uid))
            return f"{score[0]:.1f}"

        def compare() -> str:
            difference = abs(score[0] - scan.expected_score)
            if difference > max(SCORE_TOLERANCE * scan.expected_score, 0.05):
                raise CommandFailed(
                    f"the service found {score[0]:.1f}, this machine {scan.expected_score:.1f}: is "
                    "it another model or protocol, or did something change the scan on its way?"
                )
            return (
                f"as scored here ({scan.expected_score:.1f}); the simulated calcium has "
                f"{scan.true_score:.1f}"
            )

        def come_back() -> str:
            return _wait_for_return(archive.modalities, scan.study_instance_uid, path.timeout_s)

        steps = [("scan sent", send), ("Agatston score", wait_for_score), ("right score", compare)]
        if path.expects_return:
            steps.append(("results in the archive", come_back))
        for name, step in steps:
            if not is_passed(name, step):
                break
    return findings


@dataclass(frozen=True)
class _Scan:
    files: list[Path]
    study_instance_uid: str
    series_instance_uid: str
    true_score: float
    expected_score: float


def _simulated_scan(settings: Settings, folder: Path, seed: int | None) -> _Scan:
    """Write a patient whose UIDs nobody has seen, with its true score and the one found here."""
    from calcium_scoring.dicom.read_series import read_ct_series  # noqa: PLC0415
    from calcium_scoring.phantom.patient import simulate_patient  # noqa: PLC0415
    from service.application.score_series import score_series  # noqa: PLC0415
    from service.cli.phantom import write_phantom  # noqa: PLC0415

    # A gated scan of the heart with calcium, without metal, as in `cacscore demo`.
    patient = simulate_patient(
        secrets.randbelow(2**31) if seed is None else seed,
        kind="gated",
        spacing_between_slices_mm=3.0,
        slice_thickness_mm=3.0,
        z_extent_mm=135.0,
        burden_category="101-400",
        has_metal=False,
    )
    written = write_phantom(patient, folder, as_zip=False)
    workdir = folder / "work"
    workdir.mkdir()
    scored = score_series(
        written.series,
        workdir=workdir,
        segmenter=OnnxSegmenter(settings.model_path, providers=settings.onnx_providers),
        protocol=settings.scoring_protocol,
    )
    identity = read_ct_series(written.series, workdir).volume.identity
    if identity is None:
        raise CommandFailed("The simulated series has no UIDs.")
    return _Scan(
        files=sorted(written.series.glob("*.dcm")),
        study_instance_uid=identity.study_instance_uid,
        series_instance_uid=identity.series_instance_uid,
        true_score=float(written.truth["agatston_score"]),
        expected_score=scored.report.total.agatston_score,
    )


def _score_from_service(path: SitePath, series_instance_uid: str) -> float:
    """Wait until the service has scored this series; return its Agatston score."""
    from service.cli.client import service_client  # noqa: PLC0415

    deadline = time.monotonic() + path.timeout_s
    others: set[str] = set()
    with service_client(path.url) as client:
        while time.monotonic() < deadline:
            for study in client.studies(limit=NEWEST_STUDIES)["studies"]:
                if study["status"] != "succeeded" or study["id"] in others:
                    continue
                report = client.score(study["id"])
                if report["series"]["series_instance_uid"] == series_instance_uid:
                    return float(report["agatston_score"])
                others.add(study["id"])
            time.sleep(POLL_S)
    raise CommandFailed(
        f"{path.url} did not score the scan within {path.timeout_s:g} s. Does the archive send it "
        "to the node of cacscore, and do its rules want it? Another tenant's key would not see it."
    )


def _wait_for_return(
    modalities: Callable[[str], frozenset[str]], study_instance_uid: str, timeout_s: float
) -> str:
    deadline = time.monotonic() + timeout_s
    while True:
        found = modalities(study_instance_uid)
        if found >= RETURNED_MODALITIES:
            return f"the study has series of {', '.join(sorted(found))}"
        if time.monotonic() > deadline:
            raise CommandFailed(
                f"after {timeout_s:g} s the study has series of {', '.join(sorted(found)) or '-'} "
                f"only; {', '.join(sorted(RETURNED_MODALITIES - found))} did not come back."
            )
        time.sleep(POLL_S)


def _rules(settings: Settings) -> str:
    try:
        from service.adapters.rules.yaml_rules import load_rules  # noqa: PLC0415
    except ModuleNotFoundError:
        return "not needed: cacscore[dicom-network] is not installed"
    rules = load_rules(settings.rules_file)
    return f"{len(rules.rules)} rules{'' if settings.rules_file else ', those that are built in'}"


def _finding(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, is_ok=True, detail=check())
    except CacscoreError as error:
        return Finding(name, is_ok=False, detail=f"{error.title}. {error.message}")
    except Refused as refused:
        return Finding(name, is_ok=False, detail=refused.problem.detail)
    except (CommandFailed, UsageMistake) as failure:
        return Finding(name, is_ok=False, detail=str(failure))


def _sheet(findings: list[Finding]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "Check", "Found"):
        table.add_column(heading, overflow="fold")
    for one in findings:
        mark = "[green]ok[/]" if one.is_ok else "[red]FAILED[/]"
        table.add_row(mark, one.name, one.detail.replace("[", r"\["))
    return table
