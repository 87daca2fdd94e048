"""`cacscore doctor`: an installation is complete, and a scan comes through the site's own path."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta

from rich.table import Table

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
from service.cli.doctor_findings import Finding, finding_of
from service.cli.doctor_offer import offer_document, print_offer
from service.cli.doctor_path import SitePath, check_site_path
from service.cli.environment import settings_from_environment
from service.cli.outcome import CommandFailed, UsageMistake
from service.settings import Settings


def host_and_port(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT``; UsageMistake where it is not that."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageMistake(f"{text!r} must be HOST:PORT, such as pacs.example.org:104.")
    return host.strip("[]"), int(port)


def run_doctor(path: SitePath | None, *, wants_json: bool) -> None:
    """Make all checks and print the sheet; CommandFailed where one of them failed."""
    settings = settings_from_environment()
    site = None if path is None else check_site_path(settings, path, say)
    findings = check_installation(settings) if site is None else site.findings
    failed = sum(not one.is_ok for one in findings)
    if wants_json:
        print_json(
            {
                "is_ok": not failed,
                "version": __version__,
                "checks": [asdict(one) for one in findings],
                "offer": None if site is None else offer_document(site),
                "intended_use": INTENDED_USE,
            }
        )
    else:
        stdout.print(_sheet(findings))
        if site is not None:
            print_offer(site, stdout)
        stdout.print(f"cacscore {__version__}. {INTENDED_USE}", markup=False)
    if failed:
        raise CommandFailed(_failure(findings))


def _failure(findings: list[Finding]) -> str:
    """Return how many checks failed, and what the first of them found."""
    wrong = [one for one in findings if not one.is_ok]
    return f"{len(wrong)} of {len(findings)} checks failed. {wrong[0].name}: {wrong[0].detail}"


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
            *(finding_of(name, check) for name, check in checks),
        ]
    finally:
        engine.dispose()


def _rules(settings: Settings) -> str:
    try:
        from service.adapters.rules.yaml_rules import load_rules  # noqa: PLC0415
    except ModuleNotFoundError:
        return "not needed: cacscore[dicom-network] is not installed"
    rules = load_rules(settings.rules_file)
    return f"{len(rules.rules)} rules{'' if settings.rules_file else ', those that are built in'}"


def _sheet(findings: list[Finding]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "Check", "Found"):
        table.add_column(heading, overflow="fold")
    for one in findings:
        mark = "[green]ok[/]" if one.is_ok else "[red]FAILED[/]"
        if not one.is_checked:
            mark = "[yellow]not checked[/]"
        table.add_row(mark, one.name, one.detail.replace("[", r"\["))
    return table
