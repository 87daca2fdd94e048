"""The way of a scan through a site: sent to its archive, scored, and back as SEG and SR."""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from calcium_scoring.dicom.read_series import CtSeries
from service.adapters.destinations.dicomweb_archive import DicomWebArchive
from service.adapters.destinations.places import StowDestination
from service.adapters.destinations.stow_rs import StowSender
from service.application.pushes import Push
from service.cli.doctor_findings import Finding, NotChecked, finding_of
from service.cli.doctor_results import (
    ResultsSource,
    Returned,
    check_mask,
    check_references,
    check_report,
)
from service.cli.outcome import CommandFailed, UsageMistake
from service.settings import Settings

if TYPE_CHECKING:
    from service.adapters.dicom_network.archive_scu import Archive, PeerOffer

POLL_S: Final = 2.0
"""How often the service and the archive are asked whether the results are there; our choice."""

SETTLE_S: Final = 30.0
"""How long the last results may take once the first are there; our choice."""

SCORE_TOLERANCE: Final = 0.01
"""Part by which the score of the service may differ from that of this machine: another runtime or
accelerator rounds differently. Our choice."""

NEWEST_STUDIES: Final = 50
"""Among so many the scan that was sent is looked for; our choice."""

RETURNED_MODALITIES: Final = frozenset({"SEG", "SR"})

TRANSACTIONS: Final = ("QIDO-RS", "WADO-RS", "STOW-RS")

_ANYWHERE: Final = (ip_network("0.0.0.0/0"), ip_network("::/0"))
"""Who runs the doctor says where it asks: on the command line, not in the settings of a service."""


@dataclass(frozen=True)
class DicomNode:
    """A node that is sent to over the DICOM network."""

    host: str
    port: int
    ae_title: str
    calling_ae_title: str


@dataclass(frozen=True)
class SitePath:
    """The way of a scan: sent to ``pacs`` or by ``stow``, scored by the service at ``url``.

    The results are looked for over ``dicomweb`` where that is given, else in ``pacs``.
    """

    url: str
    timeout_s: float
    expects_return: bool
    pacs: DicomNode | None = None
    stow: StowDestination | None = None
    dicomweb: StowDestination | None = None
    seed: int | None = None
    """Of the simulated patient; a new one each time where it is None."""

    def __post_init__(self) -> None:
        """Refuse two ways, or none."""
        if (self.pacs is None) == (self.stow is None):
            raise UsageMistake("Give one of --pacs and --stow: the scan is sent one way.")


def dicomweb_place(url: str, variables: str) -> StowDestination:
    """Return where a DICOMweb service is, with the secret that the environment has for it.

    ``variables`` is what their names begin with: ..._TOKEN, or ..._USERNAME and ..._PASSWORD.
    Raises UsageMistake where that does not fit together.
    """
    fields: dict[str, Any] = {"name": "doctor", "kind": "stow-rs", "url": url}
    if os.environ.get(f"{variables}_USERNAME"):
        fields |= {
            "username": os.environ[f"{variables}_USERNAME"],
            "password_env": f"{variables}_PASSWORD",
        }
    elif os.environ.get(f"{variables}_TOKEN"):
        fields["token_env"] = f"{variables}_TOKEN"
    try:
        return StowDestination.model_validate(fields)
    except ValidationError as error:
        complaints = "; ".join(
            str(one["msg"]) for one in error.errors(include_input=False, include_url=False)
        )
        raise UsageMistake(f"{url}: {complaints}.") from error


@dataclass(frozen=True, eq=False)
class _Scan:
    """A simulated patient, scored here."""

    files: list[Path]
    series: CtSeries
    study_instance_uid: str
    series_instance_uid: str
    true_score: float
    expected_score: float


@dataclass(frozen=True)
class _Scored:
    """What the service made of it."""

    study_id: str
    report: dict[str, Any]

    @property
    def agatston_score(self) -> float:
        return float(self.report["agatston_score"])


@dataclass
class SiteSheet:
    """Findings as they come, each said when its check begins, and what the archive offers."""

    say: Callable[[str], None]
    findings: list[Finding] = field(default_factory=list)
    offer: PeerOffer | None = None
    """None where no node was asked, or none answered."""
    web: dict[str, dict[str, str]] = field(default_factory=dict)
    """URL of each DICOMweb service, its transactions, and what came of asking for them."""

    def has_passed(self, name: str, check: Callable[[], str]) -> bool:
        """Make a check, and tell whether the next one makes sense."""
        self.say(f"{name} ...")
        self.findings.append(finding_of(name, check))
        return self.findings[-1].is_ok and self.findings[-1].is_checked

    def has_answered(self, url: str, transaction: str, name: str, check: Callable[[], str]) -> bool:
        """Make a check that asks a DICOMweb service, and note the transaction."""
        is_ok = self.has_passed(name, check)
        known = self.web.setdefault(url, dict.fromkeys(TRANSACTIONS, "not asked"))
        known[transaction] = "answered" if is_ok else "failed"
        return is_ok


def check_site_path(settings: Settings, path: SitePath, say: Callable[[str], None]) -> SiteSheet:
    """Send a simulated patient on its way and check what comes of it.

    Later checks are left out where an earlier one fails: they would fail for the same reason.
    ``say`` is told what is done.
    """
    sheet = SiteSheet(say)
    archive = None if path.pacs is None else _archive(path.pacs)
    web = None
    if path.dicomweb is not None and path.expects_return:
        web = DicomWebArchive(path.dicomweb, _ANYWHERE)
    if archive is not None and not _node_is_there(sheet, archive):
        return sheet
    if web is not None and not _web_is_there(sheet, web):
        return sheet
    with tempfile.TemporaryDirectory(prefix="cacscore-doctor-") as name:
        folder = Path(name)
        say("Simulating a patient and scoring it here ...")
        scan = _simulated_scan(settings, folder, path.seed)
        scored = _send_and_compare(sheet, path, archive, scan)
        if scored is not None and path.expects_return:
            _check_return(sheet, path, web or archive, scan, scored, folder / "returned")
    return sheet


def _archive(node: DicomNode) -> Archive:
    # Only where it is asked: an installation without DICOM nodes has no pynetdicom.
    from service.adapters.dicom_network.archive_scu import Archive  # noqa: PLC0415

    return Archive(node.host, node.port, node.ae_title, node.calling_ae_title)


def _node_is_there(sheet: SiteSheet, archive: Archive) -> bool:
    def echo() -> str:
        archive.echo()
        sheet.offer = archive.offer()
        return f"{archive.ae_title} at {archive.host} port {archive.port} answers C-ECHO"

    return sheet.has_passed("archive", echo)


def _web_is_there(sheet: SiteSheet, web: DicomWebArchive) -> bool:
    def ask() -> str:
        web.check()
        return f"{web.url} answers QIDO-RS"

    return sheet.has_answered(web.url, "QIDO-RS", "DICOMweb", ask)


def _send_and_compare(
    sheet: SiteSheet, path: SitePath, archive: Archive | None, scan: _Scan
) -> _Scored | None:
    """Send the scan and compare the service's score with the one found here; None if it is not."""
    scored: list[_Scored] = []

    def wait_for_score() -> str:
        scored.append(_score_from_service(path, scan.series_instance_uid))
        return f"{scored[0].agatston_score:.1f}"

    def compare() -> str:
        found = scored[0].agatston_score
        slice_count = int(scored[0].report["series"]["slice_count"])
        if slice_count != len(scan.files):
            raise CommandFailed(
                f"the service scored {slice_count} of the {len(scan.files)} slices that were sent: "
                "does the archive pause longer between two slices than CACSCORE_DICOM_QUIET_S?"
            )
        if abs(found - scan.expected_score) > max(SCORE_TOLERANCE * scan.expected_score, 0.05):
            raise CommandFailed(
                f"the service found {found:.1f}, this machine {scan.expected_score:.1f}: is it "
                "another model or protocol, or did something change the scan on its way?"
            )
        return (
            f"as scored here ({scan.expected_score:.1f}); the simulated calcium has "
            f"{scan.true_score:.1f}"
        )

    steps = [("Agatston score", wait_for_score), ("right score", compare)]
    if not _is_sent(sheet, path, archive, scan.files):
        return None
    return scored[0] if all(sheet.has_passed(*step) for step in steps) else None


def _is_sent(
    sheet: SiteSheet, path: SitePath, archive: Archive | None, files: Sequence[Path]
) -> bool:
    place = path.stow
    if place is None:
        return archive is not None and sheet.has_passed("scan sent", lambda: _store(archive, files))
    return sheet.has_answered(place.url, "STOW-RS", "scan sent", lambda: stow(place, files))


def _store(archive: Archive, files: Sequence[Path]) -> str:
    archive.store(files)
    return f"{len(files)} slices were taken, by C-STORE"


def stow(place: StowDestination, files: Sequence[Path]) -> str:
    """Send files in one request; CommandFailed unless each one is taken."""
    push = Push("doctor", "doctor", "doctor", place.name, attempt=1, tries=1)
    outcome = StowSender(place, _ANYWHERE).send(push, files, lambda: True)
    if not outcome.is_sent:
        raise CommandFailed(f"{place.url} did not take the scan: {outcome.words}.")
    return f"{len(files)} slices were taken, by STOW-RS"


def _check_return(
    sheet: SiteSheet,
    path: SitePath,
    source: DicomWebArchive | Archive | None,
    scan: _Scan,
    scored: _Scored,
    folder: Path,
) -> None:
    if source is None:
        return
    returned: list[Returned] = []

    def come_back() -> str:
        return _wait_for_return(source, scan.study_instance_uid, scored.study_id, path)

    def fetch() -> str:
        if not isinstance(source, DicomWebArchive) and not source.offers_get():
            raise NotChecked(
                f"{source.ae_title} does not offer C-GET: that the results are there could be "
                "asked by C-FIND only, not what is in them. --dicomweb URL fetches them over HTTP."
            )
        returned.append(fetch_results(source, scan.series, folder))
        way = "WADO-RS" if isinstance(source, DicomWebArchive) else "C-GET"
        return f"{returned[0].words()}, by {way}"

    if not sheet.has_passed("results in the archive", come_back):
        return
    if isinstance(source, DicomWebArchive):
        is_fetched = sheet.has_answered(source.url, "WADO-RS", "results fetched", fetch)
    else:
        is_fetched = sheet.has_passed("results fetched", fetch)
    if is_fetched:
        sheet.findings += check_returned(
            returned[0], scored.report, scan.series, scan.expected_score
        )


def check_returned(
    returned: Returned, document: dict[str, Any], series: CtSeries, expected_score: float
) -> list[Finding]:
    """Check what came back against the service's report and the series that was sent."""
    return [
        finding_of("SR: score", lambda: check_report(returned, document, expected_score)),
        finding_of("SR: references", lambda: check_references(returned, series)),
        finding_of("SEG: score", lambda: check_mask(returned, document, series)),
    ]


def fetch_results(
    source: ResultsSource, series: CtSeries, folder: Path, settle_s: float = SETTLE_S
) -> Returned:
    """Fetch every other series of the study; again while masks that the SR names are missing."""
    identity = series.volume.identity
    if identity is None:
        raise CommandFailed("The series has no UIDs.")
    deadline = time.monotonic() + settle_s
    attempt = 0
    while True:
        arriving = folder / str(attempt)
        arriving.mkdir(parents=True)
        found = source.series(identity.study_instance_uid)
        results = [one for one in found if one.series_instance_uid != identity.series_instance_uid]
        source.fetch(identity.study_instance_uid, results, arriving)
        returned = Returned.of(arriving)
        if not returned.missing(series) or time.monotonic() > deadline:
            return returned
        attempt += 1
        time.sleep(POLL_S)


def _simulated_scan(settings: Settings, folder: Path, seed: int | None) -> _Scan:
    """Write a patient whose UIDs nobody has seen, with its true score and the one found here."""
    from calcium_scoring.dicom.read_series import read_ct_series  # noqa: PLC0415
    from calcium_scoring.phantom.patient import simulate_patient  # noqa: PLC0415
    from service.adapters.onnx.segmenter import OnnxSegmenter  # noqa: PLC0415
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
    series = read_ct_series(written.series, workdir)
    identity = series.volume.identity
    if identity is None:
        raise CommandFailed("The simulated series has no UIDs.")
    return _Scan(
        files=sorted(written.series.glob("*.dcm")),
        series=series,
        study_instance_uid=identity.study_instance_uid,
        series_instance_uid=identity.series_instance_uid,
        true_score=float(written.truth["agatston_score"]),
        expected_score=scored.report.total.agatston_score,
    )


def _score_from_service(path: SitePath, series_instance_uid: str) -> _Scored:
    """Wait until the service has scored this series."""
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
                    return _Scored(study["id"], {**report})
                others.add(study["id"])
            time.sleep(POLL_S)
    raise CommandFailed(
        f"{path.url} did not score the scan within {path.timeout_s:g} s. Does the archive send it "
        "to the node of cacscore, and do its rules want it? Another tenant's key would not see it."
    )


def _wait_for_return(
    source: ResultsSource, study_instance_uid: str, study_id: str, path: SitePath
) -> str:
    """Wait for SEG and SR; CommandFailed once they cannot come any more, or too long."""
    from service.cli.client import service_client  # noqa: PLC0415

    deadline = time.monotonic() + path.timeout_s
    while True:
        found = {one.modality for one in source.series(study_instance_uid)}
        if found >= RETURNED_MODALITIES:
            return f"the study has series of {', '.join(sorted(found))}"
        with service_client(path.url) as client:
            pushes = client.study(study_id)["pushes"]
        has_failed = bool(pushes) and all(one["state"] == "failed" for one in pushes)
        if has_failed or time.monotonic() > deadline:
            raise CommandFailed(
                f"{', '.join(sorted(RETURNED_MODALITIES - found))} did not come back"
                f"{'' if has_failed else f' within {path.timeout_s:g} s'}; the archive has series "
                f"of {', '.join(sorted(found)) or 'nothing'}. {_words_on(pushes)}"
            )
        time.sleep(POLL_S)


def _words_on(pushes: Sequence[Any]) -> str:
    if not pushes:
        return (
            "The service pushed nothing of this study: is the archive one of the destinations of "
            "CACSCORE_DESTINATIONS_FILE?"
        )
    return " ".join(
        f"The service says of its push to {one['destination']}: {one['state']}, attempt "
        f"{one['attempt']}{'' if one['detail'] is None else ', ' + one['detail']}."
        for one in pushes
    )
