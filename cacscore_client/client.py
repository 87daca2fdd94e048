"""The client that waits for its answers."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar

import httpx

from cacscore_client import calls
from cacscore_client.archive import packed
from cacscore_client.calls import Call
from cacscore_client.connection import (
    CHUNK_BYTES,
    MAX_BUSY_ANSWERS,
    TIMEOUT,
    arriving,
    check_digest,
    http_options,
    target_in,
    timeout_of,
)
from cacscore_client.documents import (
    Artefact,
    CalciumReport,
    ExportFormat,
    JobEvent,
    MaskFormat,
    Priority,
    Readiness,
    ReportFormat,
    RerunRequest,
    ResultVersion,
    Risk,
    RiskRequest,
    Study,
    StudyPage,
    Version,
)
from cacscore_client.watching import (
    FINAL_STATUSES,
    POLL_S,
    SILENCE_S,
    Deadline,
    NoEvents,
    StudyState,
    Watch,
    unreachable,
    why_no_score,
)

Answer = TypeVar("Answer")
OnBytes = Callable[[int], None]
OnProgress = Callable[[StudyState], None]


class CacscoreClient:
    """Talks to one service; use as a context manager.

    ``api_key`` is that of the environment (CACSCORE_API_KEY) where it is not given. A service that
    is busy (429, 503) is asked again when it says. Every method raises a
    :class:`~cacscore_client.errors.ClientError`: ServiceProblem where the service says why not,
    Unreachable and UnexpectedAnswer where it does not answer as it should.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = httpx.Client(**http_options(url, api_key), transport=transport)
        self._sleep = sleep
        self.url = url.rstrip("/")

    def __enter__(self) -> CacscoreClient:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(
        self,
        series: str | os.PathLike[str] | bytes,
        *,
        priority: Priority = "routine",
        callback_url: str | None = None,
        on_bytes: OnBytes = lambda _count: None,
    ) -> Study:
        """Send a zip, as a path or as bytes, or a folder of DICOM files; return the study.

        The file is streamed; ``on_bytes`` hears the size of each chunk that was sent. The same
        bytes again are the same study and are not scored twice.
        """
        if isinstance(series, bytes):
            call = calls.submit(priority, callback_url, len(series))
            return self._do(call, lambda: iter([series]))
        with packed(series) as archive:

            def chunks() -> Iterator[bytes]:
                with archive.open("rb") as stream:
                    while chunk := stream.read(CHUNK_BYTES):
                        yield chunk
                        on_bytes(len(chunk))

            call = calls.submit(priority, callback_url, archive.stat().st_size)
            return self._do(call, chunks)

    def study(self, study_id: str) -> Study:
        """Return status, stage and progress of a study."""
        return self._do(calls.study(study_id))

    def studies(self, *, limit: int = 50, cursor: str | None = None) -> StudyPage:
        """Return a page of studies, the newest first; ``next_cursor`` leads to the next."""
        return self._do(calls.studies(limit, cursor))

    def all_studies(self) -> Iterator[Study]:
        """Give every study, the newest first, page by page."""
        cursor: str | None = None
        while True:
            page = self.studies(limit=200, cursor=cursor)
            yield from page["studies"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def events(
        self, study_id: str, *, after: int = 0, timeout_s: float | None = None
    ) -> Iterator[JobEvent]:
        """Give what happens to a study until its job has ended, from the event after ``after`` on.

        A lost connection is taken up again where it was. WaitTimedOut after ``timeout_s``;
        :class:`~cacscore_client.watching.NoEvents` where a proxy lets none through.
        """
        return self._events(study_id, after, Deadline(study_id, timeout_s, self.url))

    def score(self, study_id: str, *, version: int | None = None) -> CalciumReport:
        """Return the report of a study; ScoreNotReady, Refused, StudyGivenUp where there is none.

        ``version`` is that of an earlier result, see :meth:`results`.
        """
        return self._do(calls.score(study_id, version))

    def wait_for_score(
        self,
        study_id: str,
        *,
        timeout_s: float | None = None,
        on_progress: OnProgress = lambda _state: None,
        by: Literal["events", "polling"] = "events",
    ) -> CalciumReport:
        """Wait until the study's latest job has ended; return its report.

        Events tell at once what happens; where none come through, the study is asked for every two
        seconds. Refused, StudyGivenUp or Conflict where the job ended without a score.
        """
        deadline = Deadline(study_id, timeout_s, self.url)
        if by == "events":
            try:
                for event in self._events(study_id, 0, deadline):
                    on_progress(event)
            except NoEvents:
                pass
        while (study := self.study(study_id))["status"] not in FINAL_STATUSES:
            on_progress(study)
            self._sleep(deadline.before_pause(POLL_S))
        failure = why_no_score(study)
        if failure is not None:
            raise failure
        return self.score(study_id, version=study["job_number"])

    def risk(self, study_id: str, known: RiskRequest) -> Risk:
        """Return what the score means for a patient; nothing that is sent is stored."""
        return self._do(calls.risk(study_id, known))

    def results(self, study_id: str) -> list[ResultVersion]:
        """Return all results of a study, the newest first."""
        return self._do(calls.results(study_id))

    def report(self, study_id: str, form: ReportFormat = "json") -> bytes:
        """Return the report: JSON, DICOM SR, PDF, FHIR bundle or CSV, byte for byte."""
        return self._do(calls.report(study_id, form))

    def mask(
        self, study_id: str, form: MaskFormat = "dicom", *, version: int | None = None
    ) -> bytes:
        """Return the calcium mask as DICOM SEG or NIfTI (gzip)."""
        return self._do(calls.mask(study_id, form, version))

    def slice_picture(
        self, study_id: str, slice_index: int, *, version: int | None = None
    ) -> bytes:
        """Return a slice as PNG with its calcium marked; slice 0 is the lowest."""
        return self._do(calls.slice_picture(study_id, slice_index, version))

    def artefacts(self, study_id: str) -> list[Artefact]:
        """Return the list of all files of the result with their SHA-256."""
        return self._do(calls.artefacts(study_id))

    def artefact(self, study_id: str, artefact: Artefact) -> bytes:
        """Return a file of the list; DigestMismatch where its bytes are not those listed."""
        content = self._do(calls.artefact(study_id, artefact["name"]))
        check_digest(artefact, hashlib.sha256(content).hexdigest())
        return content

    def save_artefact(
        self, study_id: str, artefact: Artefact, target: str | os.PathLike[str]
    ) -> None:
        """Write a file of the list; it appears whole and checked against its digest, or not."""
        self._save(calls.artefact(study_id, artefact["name"]), Path(target), artefact)

    def save_artefacts(self, study_id: str, folder: str | os.PathLike[str]) -> list[Path]:
        """Write every file of the result to a folder, each checked; return their paths."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        paths = []
        for artefact in self.artefacts(study_id):
            path = target_in(Path(folder), artefact)
            self.save_artefact(study_id, artefact, path)
            paths.append(path)
        return paths

    def save_export(self, target: str | os.PathLike[str], form: ExportFormat = "csv") -> None:
        """Write the table of all scores: one row a study, as CSV or Parquet."""
        self._save(calls.export(form), Path(target), None)

    def cancel(self, study_id: str) -> Study:
        """Cancel the scoring of a study: at once while it waits, soon while it runs."""
        return self._do(calls.cancel(study_id))

    def retry(self, study_id: str) -> Study:
        """Score a cancelled study again, or one that the service gave up."""
        return self._do(calls.retry(study_id))

    def rerun(self, study_id: str, wish: RerunRequest | None = None) -> Study:
        """Score a study once more, by another protocol or the model that is there now."""
        return self._do(calls.rerun(study_id, wish or {}))

    def push(self, study_id: str, to: str) -> Study:
        """Send the results of a study to a destination that the service's settings name."""
        return self._do(calls.push(study_id, to))

    def delete(self, study_id: str) -> None:
        """Remove upload, results and record of a study."""
        self._do(calls.delete(study_id))

    def version(self) -> Version:
        """Return which code answers."""
        return self._do(calls.version())

    def readiness(self) -> Readiness:
        """Return whether an upload would be accepted, with every check and worker."""
        return self._do(calls.readiness())

    def _do(
        self, call: Call[Answer], content: Callable[[], Iterator[bytes]] | None = None
    ) -> Answer:
        with self._answered(call, content) as answer:
            self._read(answer)
            return call.read(answer)

    def _save(self, call: Call[bytes], target: Path, artefact: Artefact | None) -> None:
        with self._answered(call) as answer, arriving(target) as file:
            try:
                for chunk in answer.iter_bytes():
                    file.write(chunk)
            except httpx.HTTPError as error:
                raise unreachable(self.url, error) from error
            file.keep(artefact)

    @contextmanager
    def _answered(
        self, call: Call[Answer], content: Callable[[], Iterator[bytes]] | None = None
    ) -> Iterator[httpx.Response]:
        """Give the first answer that is not busy, its body unread; a problem is raised."""
        for left in reversed(range(MAX_BUSY_ANSWERS)):
            answer = self._send(call, None if content is None else content())
            try:
                if not (left and call.is_busy(answer)):
                    if not call.is_answered(answer):
                        self._read(answer)
                        raise calls.refused(answer)
                    yield answer
                    return
            finally:
                answer.close()
            self._sleep(calls.retry_after_s(answer))

    def _send(self, call: Call[Answer], content: Iterator[bytes] | None = None) -> httpx.Response:
        try:
            return self._http.send(self._request(call, content), stream=True)
        except httpx.HTTPError as error:
            raise unreachable(self.url, error) from error

    def _request(
        self,
        call: Call[Answer],
        content: Iterator[bytes] | None = None,
        timeout: httpx.Timeout = TIMEOUT,
    ) -> httpx.Request:
        return self._http.build_request(
            call.method,
            call.path,
            params=dict(call.params),
            headers=dict(call.headers),
            content=content,
            json=call.json,
            timeout=timeout,
        )

    def _read(self, answer: httpx.Response) -> None:
        try:
            answer.read()
        except httpx.HTTPError as error:
            raise unreachable(self.url, error) from error

    def _events(self, study_id: str, after: int, deadline: Deadline) -> Iterator[JobEvent]:
        watch = Watch(study_id, after=after, url=self.url)
        while True:
            try:
                yield from self._connection(watch, deadline)
            except httpx.HTTPError as error:
                watch.lost(error)
            if watch.is_over:
                return
            self._sleep(deadline.before_pause(watch.pause_s))

    def _connection(self, watch: Watch, deadline: Deadline) -> Iterator[JobEvent]:
        """Give the events of one connection, until it ends; httpx.HTTPError where it is lost."""
        timeout = timeout_of(read_s=deadline.left_s(SILENCE_S))
        answer = self._http.send(self._request(watch.call(), timeout=timeout), stream=True)
        try:
            if not answer.is_success:
                answer.read()
            if not watch.begin(answer):
                return
            for line in answer.iter_lines():
                event = watch.line(line)
                if event is not None:
                    yield event
                deadline.left_s(SILENCE_S)
        finally:
            answer.close()
