"""The client whose answers are awaited; method for method the one of ``client.py``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal, TypeVar

import anyio
import anyio.to_thread
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


class AsyncCacscoreClient:
    """Talks to one service; use as an asynchronous context manager.

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
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._http = httpx.AsyncClient(**http_options(url, api_key), transport=transport)
        self._sleep = sleep
        self.url = url.rstrip("/")

    async def __aenter__(self) -> AsyncCacscoreClient:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def submit(
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
            return await self._do(call, lambda: _one(series))
        with ExitStack() as stack:
            archive = await anyio.to_thread.run_sync(stack.enter_context, packed(series))

            async def chunks() -> AsyncIterator[bytes]:
                async with await anyio.open_file(archive, "rb") as stream:
                    while chunk := await stream.read(CHUNK_BYTES):
                        yield chunk
                        on_bytes(len(chunk))

            size_bytes = (await anyio.Path(archive).stat()).st_size
            return await self._do(calls.submit(priority, callback_url, size_bytes), chunks)

    async def study(self, study_id: str) -> Study:
        """Return status, stage and progress of a study."""
        return await self._do(calls.study(study_id))

    async def studies(self, *, limit: int = 50, cursor: str | None = None) -> StudyPage:
        """Return a page of studies, the newest first; ``next_cursor`` leads to the next."""
        return await self._do(calls.studies(limit, cursor))

    async def all_studies(self) -> AsyncIterator[Study]:
        """Give every study, the newest first, page by page."""
        cursor: str | None = None
        while True:
            page = await self.studies(limit=200, cursor=cursor)
            for study in page["studies"]:
                yield study
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def events(
        self, study_id: str, *, after: int = 0, timeout_s: float | None = None
    ) -> AsyncIterator[JobEvent]:
        """Give what happens to a study until its job has ended, from the event after ``after`` on.

        A lost connection is taken up again where it was. WaitTimedOut after ``timeout_s``;
        :class:`~cacscore_client.watching.NoEvents` where a proxy lets none through.
        """
        return self._events(study_id, after, Deadline(study_id, timeout_s, self.url))

    async def score(self, study_id: str, *, version: int | None = None) -> CalciumReport:
        """Return the report of a study; ScoreNotReady, Refused, StudyGivenUp where there is none.

        ``version`` is that of an earlier result, see :meth:`results`.
        """
        return await self._do(calls.score(study_id, version))

    async def wait_for_score(
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
                async for event in self._events(study_id, 0, deadline):
                    on_progress(event)
            except NoEvents:
                pass
        while (study := await self.study(study_id))["status"] not in FINAL_STATUSES:
            on_progress(study)
            await self._sleep(deadline.before_pause(POLL_S))
        failure = why_no_score(study)
        if failure is not None:
            raise failure
        return await self.score(study_id, version=study["job_number"])

    async def risk(self, study_id: str, known: RiskRequest) -> Risk:
        """Return what the score means for a patient; nothing that is sent is stored."""
        return await self._do(calls.risk(study_id, known))

    async def results(self, study_id: str) -> list[ResultVersion]:
        """Return all results of a study, the newest first."""
        return await self._do(calls.results(study_id))

    async def report(self, study_id: str, form: ReportFormat = "json") -> bytes:
        """Return the report: JSON, DICOM SR, PDF, FHIR bundle or CSV, byte for byte."""
        return await self._do(calls.report(study_id, form))

    async def mask(
        self, study_id: str, form: MaskFormat = "dicom", *, version: int | None = None
    ) -> bytes:
        """Return the calcium mask as DICOM SEG or NIfTI (gzip)."""
        return await self._do(calls.mask(study_id, form, version))

    async def slice_picture(
        self, study_id: str, slice_index: int, *, version: int | None = None
    ) -> bytes:
        """Return a slice as PNG with its calcium marked; slice 0 is the lowest."""
        return await self._do(calls.slice_picture(study_id, slice_index, version))

    async def artefacts(self, study_id: str) -> list[Artefact]:
        """Return the list of all files of the result with their SHA-256."""
        return await self._do(calls.artefacts(study_id))

    async def artefact(self, study_id: str, artefact: Artefact) -> bytes:
        """Return a file of the list; DigestMismatch where its bytes are not those listed."""
        content = await self._do(calls.artefact(study_id, artefact["name"]))
        check_digest(artefact, hashlib.sha256(content).hexdigest())
        return content

    async def save_artefact(
        self, study_id: str, artefact: Artefact, target: str | os.PathLike[str]
    ) -> None:
        """Write a file of the list; it appears whole and checked against its digest, or not."""
        await self._save(calls.artefact(study_id, artefact["name"]), Path(target), artefact)

    async def save_artefacts(self, study_id: str, folder: str | os.PathLike[str]) -> list[Path]:
        """Write every file of the result to a folder, each checked; return their paths."""
        await anyio.Path(folder).mkdir(parents=True, exist_ok=True)
        paths = []
        for artefact in await self.artefacts(study_id):
            path = target_in(Path(folder), artefact)
            await self.save_artefact(study_id, artefact, path)
            paths.append(path)
        return paths

    async def save_export(self, target: str | os.PathLike[str], form: ExportFormat = "csv") -> None:
        """Write the table of all scores: one row a study, as CSV or Parquet."""
        await self._save(calls.export(form), Path(target), None)

    async def cancel(self, study_id: str) -> Study:
        """Cancel the scoring of a study: at once while it waits, soon while it runs."""
        return await self._do(calls.cancel(study_id))

    async def retry(self, study_id: str) -> Study:
        """Score a cancelled study again, or one that the service gave up."""
        return await self._do(calls.retry(study_id))

    async def rerun(self, study_id: str, wish: RerunRequest | None = None) -> Study:
        """Score a study once more, by another protocol or the model that is there now."""
        return await self._do(calls.rerun(study_id, wish or {}))

    async def push(self, study_id: str, to: str) -> Study:
        """Send the results of a study to a destination that the service's settings name."""
        return await self._do(calls.push(study_id, to))

    async def delete(self, study_id: str) -> None:
        """Remove upload, results and record of a study."""
        await self._do(calls.delete(study_id))

    async def version(self) -> Version:
        """Return which code answers."""
        return await self._do(calls.version())

    async def readiness(self) -> Readiness:
        """Return whether an upload would be accepted, with every check and worker."""
        return await self._do(calls.readiness())

    async def _do(
        self, call: Call[Answer], content: Callable[[], AsyncIterator[bytes]] | None = None
    ) -> Answer:
        async with self._answered(call, content) as answer:
            await self._read(answer)
            return call.read(answer)

    async def _save(self, call: Call[bytes], target: Path, artefact: Artefact | None) -> None:
        async with self._answered(call) as answer:
            with arriving(target) as file:
                try:
                    async for chunk in answer.aiter_bytes():
                        file.write(chunk)
                except httpx.HTTPError as error:
                    raise unreachable(self.url, error) from error
                file.keep(artefact)

    @asynccontextmanager
    async def _answered(
        self, call: Call[Answer], content: Callable[[], AsyncIterator[bytes]] | None = None
    ) -> AsyncIterator[httpx.Response]:
        """Give the first answer that is not busy, its body unread; a problem is raised."""
        for left in reversed(range(MAX_BUSY_ANSWERS)):
            answer = await self._send(call, None if content is None else content())
            try:
                if not (left and call.is_busy(answer)):
                    if not call.is_answered(answer):
                        await self._read(answer)
                        raise calls.refused(answer)
                    yield answer
                    return
            finally:
                await answer.aclose()
            await self._sleep(calls.retry_after_s(answer))

    async def _send(
        self, call: Call[Answer], content: AsyncIterator[bytes] | None = None
    ) -> httpx.Response:
        try:
            return await self._http.send(self._request(call, content), stream=True)
        except httpx.HTTPError as error:
            raise unreachable(self.url, error) from error

    def _request(
        self,
        call: Call[Answer],
        content: AsyncIterator[bytes] | None = None,
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

    async def _read(self, answer: httpx.Response) -> None:
        try:
            await answer.aread()
        except httpx.HTTPError as error:
            raise unreachable(self.url, error) from error

    async def _events(
        self, study_id: str, after: int, deadline: Deadline
    ) -> AsyncIterator[JobEvent]:
        watch = Watch(study_id, after=after, url=self.url)
        while True:
            try:
                async for event in self._connection(watch, deadline):
                    yield event
            except httpx.HTTPError as error:
                watch.lost(error)
            if watch.is_over:
                return
            await self._sleep(deadline.before_pause(watch.pause_s))

    async def _connection(self, watch: Watch, deadline: Deadline) -> AsyncIterator[JobEvent]:
        """Give the events of one connection, until it ends; httpx.HTTPError where it is lost."""
        timeout = timeout_of(read_s=deadline.left_s(SILENCE_S))
        answer = await self._http.send(self._request(watch.call(), timeout=timeout), stream=True)
        try:
            if not answer.is_success:
                await answer.aread()
            if not watch.begin(answer):
                return
            async for line in answer.aiter_lines():
                event = watch.line(line)
                if event is not None:
                    yield event
                deadline.left_s(SILENCE_S)
        finally:
            await answer.aclose()


async def _one(chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk
