"""One attempt at a job: claim it, score its study, and say what came of it.

A message may come late, twice, or after its study was deleted: the claim decides. While the
attempt runs, a thread keeps its lease alive; whoever loses the lease stops and leaves nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import structlog

from calcium_scoring.errors import CacscoreError, SeriesRejected, UploadRejected
from calcium_scoring.scoring.protocol import ScoringProtocol
from calcium_scoring.upload.archive import ArchiveLimits
from service.application.artefact_names import DICOM_METADATA
from service.application.deidentification import Deidentifier, upload_to_score
from service.application.errors import (
    DependencyUnavailable,
    LeaseLost,
    RecordUnavailable,
    ScoringTimedOut,
)
from service.application.jobs import Claim, LeaseTerms, ScoreResult, Stage
from service.application.operations import NOBODY, AttemptObserver, AttemptOutcome
from service.application.ports import ArtefactStore, Segmenter, StudyStore
from service.application.problem import Problem
from service.application.progress import overall_progress
from service.application.provenance import Signer
from service.application.result_instances import read_result_instances
from service.application.score_series import DEFAULT_ARCHIVE_LIMITS, score_series
from service.application.write_artefacts import write_artefacts

_log = structlog.get_logger(__name__)

REFUSALS: Final = (UploadRejected, SeriesRejected)
"""Findings about the upload: trying again would find the same."""

SECONDS_BETWEEN_PROGRESS_WRITES: Final = 1.0
"""Within a stage the record is written at most this often."""


class StopAttempt(BaseException):
    """Raised into an attempt by a worker that must stop; no error, so no ``except`` keeps it."""


def run_job(
    job_id: str,
    *,
    store: StudyStore,
    artefacts: ArtefactStore,
    load_segmenter: Callable[[], Segmenter],
    protocol: ScoringProtocol,
    terms: LeaseTerms,
    mass_calibration_factor: float | None = None,
    limits: ArchiveLimits = DEFAULT_ARCHIVE_LIMITS,
    signer: Signer | None = None,
    deidentifier: Deidentifier | None = None,
    time_limit_error: type[Exception] = TimeoutError,
    time_limit_s: float = 0.0,
    observer: AttemptObserver = NOBODY,
    worker: str | None = None,
    destinations: Sequence[str] = (),
) -> None:
    """Make one attempt at a job, or at a more urgent one; nothing where there is nothing to do.

    Parameters
    ----------
    load_segmenter
        Called within the attempt, so that a model that cannot be loaded counts as its failure.
    signer
        Signs the record of where the result comes from; unsigned without one.
    deidentifier
        De-identifies the upload first; with none it is scored as it came.
    time_limit_error, time_limit_s
        What the queue raises within an attempt that takes longer than this.
    worker
        Name of this process, by which its parent reports its end.
    observer
        Hears when the attempt begins, of each stage, and how it ended.
    destinations
        Where results are pushed to, by name, unless the job says so itself.

    A StopAttempt that is raised into it gives the job back to the queue at once.
    """
    claim = store.claim(job_id, worker=worker)
    if claim is None:
        _log.info("nothing_to_do", job_id=job_id)
        return
    begun = time.monotonic()
    log = _log.bind(job_id=claim.job_id, study_id=claim.study_id, attempt=claim.attempt)
    log.info("attempt_begun")
    observer.begun(claim)
    try:
        with _lease_kept(store, claim, terms, observer) as watch:
            _score_study(
                claim,
                store=store,
                artefacts=artefacts,
                segmenter=load_segmenter(),
                protocol=claim.options.apply_to(protocol),
                mass_calibration_factor=mass_calibration_factor,
                limits=limits,
                signer=signer,
                deidentifier=deidentifier,
                watch=watch,
                destinations=(
                    claim.destinations if claim.destinations is not None else destinations
                ),
            )
        _remove_leftovers(claim, artefacts)
        log.info("attempt_succeeded", duration_ms=_elapsed_ms(begun))
        observer.ended(AttemptOutcome.SUCCEEDED, None)
    except LeaseLost:
        artefacts.remove(claim.result_key)
        log.warning("attempt_dropped", duration_ms=_elapsed_ms(begun))
        observer.ended(AttemptOutcome.DROPPED, None)
    except StopAttempt:
        _hand_back(claim, store, artefacts)
        log.warning("attempt_handed_back", duration_ms=_elapsed_ms(begun))
        observer.ended(AttemptOutcome.HANDED_BACK, None)
    except Exception as error:
        # Only then: where the record did keep this attempt's result, its files stay.
        if _record_failure(error, claim, store, time_limit_error, time_limit_s):
            # Nothing of a refused upload stays but its record; a passing failure is tried again.
            artefacts.remove(claim.result_key)
            _remove_leftovers(claim, artefacts)
            if isinstance(error, REFUSALS) and not _has_result(claim, store):
                artefacts.remove(claim.folder)
        code = error.code if isinstance(error, CacscoreError) else None
        log.warning(
            "attempt_failed",
            duration_ms=_elapsed_ms(begun),
            code=code,
            exc_info=None if isinstance(error, CacscoreError) else error,
        )
        is_refusal = isinstance(error, REFUSALS)
        observer.ended(AttemptOutcome.REFUSED if is_refusal else AttemptOutcome.FAILED, code)


def _has_result(claim: Claim, store: StudyStore) -> bool:
    """Tell whether files of the study must stay; the reaper finds those that need not have."""
    try:
        return store.has_result(claim.study_id)
    except RecordUnavailable:
        return True


def _remove_leftovers(claim: Claim, artefacts: ArtefactStore) -> None:
    """Remove what attempts left that were killed while they wrote."""
    for key in claim.earlier_result_keys:
        artefacts.remove(key)


def _score_study(
    claim: Claim,
    *,
    store: StudyStore,
    artefacts: ArtefactStore,
    segmenter: Segmenter,
    protocol: ScoringProtocol,
    mass_calibration_factor: float | None,
    limits: ArchiveLimits,
    signer: Signer | None,
    deidentifier: Deidentifier | None,
    watch: _LeaseWatch,
    destinations: Sequence[str],
) -> None:
    with (
        artefacts.scratch() as scratch,
        upload_to_score(
            claim,
            store=store,
            artefacts=artefacts,
            limits=limits,
            deidentifier=deidentifier,
            workdir=scratch,
        ) as (upload, upload_limits),
    ):
        unpacked, written = scratch / "unpacked", scratch / "written"
        unpacked.mkdir()
        written.mkdir()
        scored = score_series(
            upload,
            workdir=unpacked,
            segmenter=segmenter,
            protocol=protocol,
            mass_calibration_factor=mass_calibration_factor,
            limits=upload_limits,
            progress=watch.hear,
        )
        names = write_artefacts(scored, written, watch.hear, signer)
        instances = read_result_instances(written / DICOM_METADATA)
        for name in names:
            artefacts.adopt(written / name, f"{claim.result_key}/{name}")
    store.finish(
        claim,
        ScoreResult(
            result_key=claim.result_key,
            model=scored.model,
            agatston_score=scored.report.total.agatston_score,
            slice_count=scored.report.geometry.shape[0],
        ),
        destinations=destinations,
        instances=instances,
    )


def _record_failure(
    error: Exception,
    claim: Claim,
    store: StudyStore,
    time_limit_error: type[Exception],
    time_limit_s: float,
) -> bool:
    """Tell the record why the attempt failed; False where it did not listen."""
    try:
        if isinstance(error, REFUSALS):
            store.refuse(claim, Problem.of(error))
        elif isinstance(error, time_limit_error):
            store.refuse(claim, Problem.of(ScoringTimedOut(time_limit_s)))
        else:
            # The message of a foreign error may quote the upload; its class cannot.
            foreign = not isinstance(error, CacscoreError)
            store.release(claim, type(error).__name__ if foreign else str(error))
    except (LeaseLost, RecordUnavailable):
        # Nothing to add: the lease ends by itself and the job is taken up again.
        _log.warning("failure_not_recorded", job_id=claim.job_id, attempt=claim.attempt)
        return False
    return True


def _hand_back(claim: Claim, store: StudyStore, artefacts: ArtefactStore) -> None:
    try:
        # First: the next attempt has the same number and folder.
        artefacts.remove(claim.result_key)
        store.hand_back(claim)
    except (LeaseLost, DependencyUnavailable):
        # The lease ends by itself, as if the worker had been killed.
        _log.warning("attempt_not_handed_back", job_id=claim.job_id, attempt=claim.attempt)


class _LeaseWatch:
    """Writes progress to the record and stops the work once the lease is lost."""

    def __init__(self, store: StudyStore, claim: Claim, observer: AttemptObserver) -> None:
        self._store = store
        self._claim = claim
        self._observer = observer
        self._stage = Stage.WAITING
        self._written_at = 0.0
        self.is_lost = threading.Event()

    def hear(self, stage: Stage, fraction: float) -> None:
        """Take note of progress; raises LeaseLost where the job is no longer ours."""
        if self.is_lost.is_set():
            raise LeaseLost(self._claim.job_id, self._claim.attempt)
        now = time.monotonic()
        if stage is not self._stage:
            self._observer.stage_begun(stage)
        if stage is self._stage and now - self._written_at < SECONDS_BETWEEN_PROGRESS_WRITES:
            return
        self._stage, self._written_at = stage, now
        try:
            self._store.report_progress(self._claim, stage, overall_progress(stage, fraction))
        except RecordUnavailable:
            _log.warning("progress_not_recorded", job_id=self._claim.job_id)


@contextmanager
def _lease_kept(
    store: StudyStore, claim: Claim, terms: LeaseTerms, observer: AttemptObserver
) -> Iterator[_LeaseWatch]:
    """Extend the lease from a thread until the block ends."""
    watch = _LeaseWatch(store, claim, observer)
    ended = threading.Event()

    def keep() -> None:
        while not ended.wait(terms.heartbeat_interval.total_seconds()):
            try:
                store.extend(claim)
            except LeaseLost:
                watch.is_lost.set()
                return
            except RecordUnavailable:
                _log.warning("heartbeat_missed", job_id=claim.job_id)

    thread = threading.Thread(target=keep, name=f"heartbeat-{claim.job_id}", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        ended.set()
        thread.join()


def _elapsed_ms(begun: float) -> int:
    return round((time.monotonic() - begun) * 1000)
