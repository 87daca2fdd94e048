"""Many clients at once at a real gateway: `python -m tests.benchmarks.load`.

A broker and a worker of its own run beside it. Each client sends a small series, asks for its
status a few times, as a client does that obeys Retry-After, and begins again. Measured are the
times of every answer, what was not an answer as it should be, and the memory of the gateway. A
second run sends more uploads at once than the gateway is told to take: they must be turned away,
not left waiting.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import socket
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import Final

import httpx
import psutil

from service.cli.serve import KEEP_ALIVE_S
from tests.fakes import write_study_zip, write_threshold_model
from tests.integration.conftest import running_broker

POLLS: Final = 5
POLL_INTERVAL_S: Final = 2.0
"""What the service itself says in Retry-After of a score that is not there yet."""

CLIENT_TIMEOUT_S: Final = 60.0
"""An answer that takes longer is a time-out, and an error."""

START_TIMEOUT_S: Final = 120.0


@dataclass
class Answers:
    """Times in seconds of the answers to one method, and what went wrong."""

    durations_s: list[float] = field(default_factory=list)
    turned_away_s: list[float] = field(default_factory=list)
    """Of answers that were 503 with Retry-After."""
    errors: list[str] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """Return the time in which this share of the answers came."""
        if len(self.durations_s) < 2:
            return self.durations_s[0] if self.durations_s else float("nan")
        return statistics.quantiles(self.durations_s, n=1000, method="inclusive")[
            round(share * 1000) - 1
        ]


@dataclass
class Outcome:
    """Everything that a run measured."""

    get: Answers = field(default_factory=Answers)
    post: Answers = field(default_factory=Answers)
    accepted: set[str] = field(default_factory=set)
    missing: int = 0
    """Studies that were accepted and are not there at the end."""
    cpu_s: float = 0.0
    """Processor time that the gateway used."""
    rss_begin_mib: float = 0.0
    rss_peak_mib: float = 0.0

    @property
    def error_count(self) -> int:
        """Number of answers that were not as they should be."""
        return len(self.get.errors) + len(self.post.errors) + self.missing


def unique_archives(base: bytes) -> Iterator[bytes]:
    """Yield the same series again and again, each time as another upload."""
    number = 0
    while True:
        content = BytesIO(base)
        with zipfile.ZipFile(content, "a") as archive:
            archive.writestr("note.txt", f"upload {number}")
        number += 1
        yield content.getvalue()


async def be_a_client(
    client: httpx.AsyncClient,
    archives: Iterator[bytes],
    outcome: Outcome,
    until: float,
    spread_s: float,
) -> None:
    """Upload and poll until the time is over; begin within ``spread_s``."""
    await asyncio.sleep(random.uniform(0.0, spread_s))  # noqa: S311
    while time.monotonic() < until:
        answer = await _timed(
            outcome.post,
            client.post(
                "/studies", content=next(archives), headers={"Content-Type": "application/zip"}
            ),
            HTTPStatus.ACCEPTED,
        )
        if answer is None:
            continue
        if answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            await asyncio.sleep(float(answer.headers["Retry-After"]))
            continue
        study_id = answer.json()["id"]
        outcome.accepted.add(study_id)
        for _ in range(POLLS):
            await asyncio.sleep(POLL_INTERVAL_S)
            if time.monotonic() > until:
                return
            await _timed(outcome.get, client.get(f"/studies/{study_id}"), HTTPStatus.OK)


async def _timed(answers: Answers, request: object, expected: HTTPStatus) -> httpx.Response | None:
    begun = time.monotonic()
    try:
        response: httpx.Response = await request  # type: ignore[misc]
    except httpx.HTTPError as error:
        answers.errors.append(type(error).__name__)
        return None
    duration_s = time.monotonic() - begun
    if response.status_code == expected:
        answers.durations_s.append(duration_s)
        return response
    if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE and "Retry-After" in response.headers:
        answers.turned_away_s.append(duration_s)
        return response
    answers.errors.append(f"{response.status_code} {response.text[:200]}")
    return None


async def run_clients(
    url: str, count: int, seconds: float, base: bytes, spread_s: float
) -> Outcome:
    """Let so many clients work for so long, then look for every study that was accepted."""
    outcome = Outcome()
    archives = unique_archives(base)
    limits = httpx.Limits(max_connections=count, max_keepalive_connections=count)
    async with httpx.AsyncClient(
        base_url=url, timeout=CLIENT_TIMEOUT_S, limits=limits, trust_env=False
    ) as client:
        until = time.monotonic() + seconds
        await asyncio.gather(
            *(be_a_client(client, archives, outcome, until, spread_s) for _ in range(count))
        )
        for study_id in outcome.accepted:
            answer = await client.get(f"/studies/{study_id}")
            outcome.missing += answer.status_code != HTTPStatus.OK
    return outcome


@contextmanager
def running_service(folder: Path, **settings: str) -> Iterator[tuple[str, psutil.Process]]:
    """Give the URL and the process of a gateway, with a broker and a worker of its own."""
    with ExitStack() as stack:
        broker = stack.enter_context(running_broker(folder))
        environment = {
            **os.environ,
            "CACSCORE_DATA_DIR": str(folder / "data"),
            "CACSCORE_BROKER_URL": broker.url,
            "CACSCORE_MODEL_PATH": str(write_threshold_model(folder / "threshold.onnx")),
            "CACSCORE_ONNX_THREADS": "1",
            "CACSCORE_DISK_RESERVE_BYTES": "0",
            "CACSCORE_QUEUE_LENGTH": "1000000",
            "CACSCORE_LOG_LEVEL": "WARNING",
            **settings,
        }
        # As the image of the gateway runs it, on a free port.
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        gateway = [sys.executable, "-m", "uvicorn", "service.api.app:create_app", "--factory"]
        gateway += ["--fd", str(listening.fileno()), "--no-access-log", "--no-server-header"]
        gateway += ["--timeout-keep-alive", KEEP_ALIVE_S]
        log = folder / "gateway.log"
        process = stack.enter_context(_program(gateway, log, environment, listening.fileno()))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        _wait_until_it_answers(url, process, log)
        worker = [sys.executable, "-m", "service.worker"]
        stack.enter_context(_program(worker, folder / "worker.log", environment))
        yield url, process


@contextmanager
def _program(
    command: list[str], log: Path, environment: dict[str, str], *inherited: int
) -> Iterator[psutil.Process]:
    with log.open("wb") as stream:
        process = psutil.Popen(
            command, stdout=stream, stderr=stream, env=environment, pass_fds=inherited
        )
    try:
        yield process
    finally:
        for one in [*process.children(recursive=True), process]:
            if one.is_running():
                one.kill()
        process.wait()


def _wait_until_it_answers(url: str, process: psutil.Process, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.is_running():
        try:
            httpx.get(f"{url}/healthz", trust_env=False, timeout=5.0)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"The gateway did not start:\n{log.read_text()[-2000:]}")


async def measured(
    url: str,
    gateway: psutil.Process,
    clients: int,
    seconds: float,
    base: bytes,
    *,
    spread_s: float = POLLS * POLL_INTERVAL_S,
) -> Outcome:
    """Run the clients and watch the memory of the gateway meanwhile.

    They begin within ``spread_s`` of each other, as clients that know nothing of one another do.
    """
    begin, cpu_begin_s = gateway.memory_info().rss / 2**20, sum(gateway.cpu_times()[:2])
    peak = begin
    running = asyncio.create_task(run_clients(url, clients, seconds, base, spread_s))
    while not running.done():
        peak = max(peak, gateway.memory_info().rss / 2**20)
        await asyncio.wait([running], timeout=0.5)
    outcome = running.result()
    outcome.cpu_s = sum(gateway.cpu_times()[:2]) - cpu_begin_s
    outcome.rss_begin_mib, outcome.rss_peak_mib = begin, peak
    return outcome


def table(outcome: Outcome, seconds: float) -> str:
    """Return what was measured as a table in Markdown."""
    lines = [
        "| | answers | a second | p50 ms | p99 ms | slowest ms | 503 + Retry-After | errors |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, answers in (("GET", outcome.get), ("POST", outcome.post)):
        slowest = max([*answers.durations_s, *answers.turned_away_s], default=float("nan"))
        lines.append(
            f"| {name} | {len(answers.durations_s)} | {len(answers.durations_s) / seconds:.1f} | "
            f"{answers.quantile(0.5) * 1000:.0f} | {answers.quantile(0.99) * 1000:.0f} | "
            f"{slowest * 1000:.0f} | {len(answers.turned_away_s)} | {len(answers.errors)} |"
        )
    lines += [
        "",
        (
            f"Gateway: {outcome.rss_begin_mib:.0f} MiB at the start, {outcome.rss_peak_mib:.0f} "
            f"MiB at most. {len(outcome.accepted)} studies were accepted, {outcome.missing} of "
            "them missing."
        ),
    ]
    answer_count = len(outcome.get.durations_s) + len(outcome.post.durations_s)
    lines.append(
        f"It used {outcome.cpu_s:.1f} s of processor time, "
        f"{outcome.cpu_s / max(answer_count, 1) * 1000:.0f} ms an answer; load of the machine "
        f"at the end: {os.getloadavg()[0]:.1f}."
    )
    kinds = sorted({*outcome.get.errors, *outcome.post.errors})
    return "\n".join([*lines, *(f"Error: {kind}" for kind in kinds[:10])])


def main() -> int:
    """Run both parts; 1 where anything was not answered as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=180.0)
    arguments = parser.parse_args()
    clients, seconds = arguments.clients, arguments.seconds
    # A path of a socket is short.
    folder = Path(tempfile.mkdtemp(prefix="cac-load-"))
    try:
        base = write_study_zip(folder / "study.zip").read_bytes()
        words = f"{len(base) / 1024:.0f} KiB a series, {os.cpu_count()} cores"
        with running_service(_new(folder / "a")) as (url, gateway):
            within = asyncio.run(measured(url, gateway, clients, seconds, base))
        _say(f"## {clients} clients for {seconds:g} s, {words}\n\n{table(within, seconds)}\n")
        # Few places, so that the first uploads of twice as many clients are too many at once.
        places = {
            "CACSCORE_UPLOADS_AT_ONCE": str(max(clients // 64, 1)),
            "CACSCORE_UPLOADS_WAITING": str(max(clients // 16, 1)),
        }
        with running_service(_new(folder / "b"), **places) as (url, gateway):
            # All at the same moment: however fast the gateway is, that is too many at once.
            beyond = asyncio.run(
                measured(url, gateway, 2 * clients, seconds / 3, base, spread_s=0.0)
            )
        _say(
            f"## {2 * clients} clients for {seconds / 3:g} s at a gateway that takes "
            f"{places['CACSCORE_UPLOADS_AT_ONCE']} uploads at once and lets "
            f"{places['CACSCORE_UPLOADS_WAITING']} wait\n\n{table(beyond, seconds / 3)}"
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    is_good = (
        within.error_count == 0
        and not within.post.turned_away_s
        and beyond.error_count == 0
        and bool(beyond.post.turned_away_s)
    )
    return 0 if is_good else 1


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
