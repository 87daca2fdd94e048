"""`cacscore serve`: gateway, worker and a private broker on one machine, as one thing.

```text
cacscore serve ── tether ── valkey-server      queue: unix socket, append-only file
               ├─ tether ── celery worker      one prefork child at a time
               └─ tether ── uvicorn            gateway
```

They are started in this order and stopped in the reverse one: first whoever takes new work.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import Final

import httpx
import redis

from service.adapters.database.engine import open_engine
from service.adapters.database.schema import upgrade_schema
from service.adapters.queue.celery_queue import celery_app
from service.application.report_terms import INTENDED_USE
from service.cli.client import is_loopback
from service.cli.console import say
from service.cli.embedded.broker import Broker, choose_broker
from service.cli.embedded.supervisor import ChildSpec, EmbeddedServiceFailed, Supervisor
from service.cli.environment import settings_from_environment
from service.cli.outcome import CommandFailed, UsageMistake

GATEWAY_APP: Final = "service.api.app:create_app"
WORKER_APP: Final = "service.worker.tasks"

START_TIMEOUT_S: Final = 120.0
"""For each part; on a cold disk the imports of the worker take long. Our choice."""

WORKER_STOP_S: Final = 15.0
"""How long a running study may take to finish at the end, unless CACSCORE_WORKER_STOP_S says so.
Our choice; what is not finished the next start takes up at once."""

WORKER_HAND_BACK_S: Final = 5.0
"""How long a worker may take to hand a study back before it is killed. Our choice."""

GATEWAY_STOP_PATIENCE_S: Final = "5"
"""How long requests that are being answered may take at the end. Our choice."""

KEEP_ALIVE_S: Final = "75"
"""How long an idle connection is kept: longer than clients and proxies leave between two requests,
or they meet a connection that is just being closed. Our choice, nginx's own default."""

PING_TIMEOUT_S: Final = 1.0

OnReady = Callable[[str], None]
"""Called with the URL once the service answers; the service stops when it returns.

A signal interrupts it with KeyboardInterrupt.
"""


def serve_until_stopped(*, host: str, port: int, data_folder: Path | None) -> None:
    """Run the service until SIGINT, SIGTERM or SIGHUP; the folder defaults to the setting."""
    folder = data_folder or settings_from_environment().data_dir
    run_embedded_service(host=host, port=port, data_folder=folder.expanduser().absolute())


def run_embedded_service(
    *, host: str, port: int, data_folder: Path, on_ready: OnReady | None = None
) -> None:
    """Run the service until a signal, or until ``on_ready`` returns where it is given.

    Raises
    ------
    UsageMistake
        If the port or the data folder cannot be had, or the address is not this machine's own
        while authentication is off.
    CommandFailed
        If a part does not start or cannot be kept alive.
    """
    # Before the parts are started: each of them would end with the same complaint.
    settings = settings_from_environment()
    if settings.auth == "off" and not is_loopback(host):
        raise UsageMistake(
            f"Without authentication nobody but this machine is served: {host} is no loopback "
            "address. Set CACSCORE_AUTH=required and make keys with `cacscore keys create`, or "
            "listen on 127.0.0.1."
        )
    try:
        data_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise UsageMistake(f"The data folder {data_folder} cannot be made: {error}.") from error
    with _sole_user_of(data_folder):
        port = _free_port(host, port)
        # Before the worker starts, which does not work with another schema.
        upgrade_schema(
            open_engine(settings.model_copy(update={"data_dir": data_folder}).record_url)
        )
        broker = choose_broker(data_folder, os.environ.get("CACSCORE_BROKER_URL"))
        try:
            with (
                Supervisor(say) as supervisor,
                _stopped_by_signals(supervisor, on_ready is not None),
            ):
                _EmbeddedService(supervisor, broker, host, port, data_folder).run(on_ready)
                say("Stopping; a running study has a moment to finish (Ctrl-C again: at once) ...")
                supervisor.stop_all()
        except EmbeddedServiceFailed as failure:
            raise CommandFailed(str(failure)) from failure
        finally:
            broker.remove_socket_folder()
    say("Stopped.")


class _EmbeddedService:
    """The parts in the order of their start."""

    def __init__(
        self, supervisor: Supervisor, broker: Broker, host: str, port: int, data_folder: Path
    ) -> None:
        self._supervisor = supervisor
        self._broker = broker
        self._host = host
        self._port = port
        self._data_folder = data_folder
        self._unreadiness = ""
        self._worker_stop_s = float(os.environ.get("CACSCORE_WORKER_STOP_S", WORKER_STOP_S))
        self._environment = {
            "CACSCORE_DATA_DIR": str(data_folder),
            "CACSCORE_BROKER_URL": broker.url,
            "CACSCORE_WORKER_STOP_S": f"{self._worker_stop_s:g}",
            # Unpacked series of a killed worker lie here until the next start, not in /tmp.
            "TMPDIR": str(_empty_folder(data_folder / "tmp")),
        }

    @property
    def url(self) -> str:
        """Where this machine reaches the gateway."""
        host = "127.0.0.1" if self._host in ("0.0.0.0", "::", "") else self._host  # noqa: S104
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    def run(self, on_ready: OnReady | None) -> None:
        """Start everything, say that it is there, and keep it alive."""
        say(f"Data: {self._data_folder}\nQueue: {self._broker.description}")
        if self._broker.note:
            say(self._broker.note)
        is_up = self._start_broker() and self._start_worker() and self._start_gateway()
        if not is_up:
            return
        if on_ready is not None:
            on_ready(self.url)
            return
        say(
            f"Ready: {self.url}\n\n"
            f"  curl -F file=@series.zip {self.url}/studies      # answers with an id\n"
            f"  curl {self.url}/studies/ID/score                 # the score, once it is there\n\n"
            f"{INTENDED_USE}\nCtrl-C stops the service."
        )
        self._supervisor.supervise()

    def _start_broker(self) -> bool:
        if self._broker.command is None:
            return True
        return self._start("broker", self._broker.command, self._broker_is_ready)

    def _start_worker(self) -> bool:
        node = f"embedded-{os.getpid()}@localhost"
        control = celery_app(self._broker.url).control
        command = [sys.executable, "-m", "celery", "--quiet", "--app", WORKER_APP, "worker"]
        command += ["--pool", "prefork", "--concurrency", "1", "--hostname", node]
        # No other worker is to be met on a private broker.
        command += ["--without-mingle", "--without-gossip", "--loglevel", "INFO"]
        return self._start(
            "worker",
            command,
            lambda: bool(control.ping(destination=[node], timeout=PING_TIMEOUT_S)),
            stop_patience_s=self._worker_stop_s + WORKER_HAND_BACK_S,
        )

    def _start_gateway(self) -> bool:
        command = [sys.executable, "-m", "uvicorn", GATEWAY_APP, "--factory"]
        command += ["--host", self._host, "--port", str(self._port), "--no-access-log"]
        command += ["--no-server-header", "--timeout-graceful-shutdown", GATEWAY_STOP_PATIENCE_S]
        command += ["--timeout-keep-alive", KEEP_ALIVE_S]
        return self._start(
            "gateway", command, self._gateway_is_ready, why_not=lambda: self._unreadiness
        )

    def _start(
        self,
        name: str,
        command: Sequence[str],
        is_ready: Callable[[], bool],
        stop_patience_s: float = 10.0,
        why_not: Callable[[], str] = lambda: "",
    ) -> bool:
        """Start a part and wait for it; False if an end was asked for meanwhile."""
        log_file = self._data_folder / "logs" / f"{name}.log"
        self._supervisor.start(
            ChildSpec(name, command, log_file, self._environment, stop_patience_s)
        )
        return self._supervisor.wait_until(
            is_ready,
            timeout_s=START_TIMEOUT_S,
            what=f"The {name}",
            child_name=name,
            why_not=why_not,
        )

    def _broker_is_ready(self) -> bool:
        with closing(redis.Redis(unix_socket_path=str(self._broker.socket))) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:  # not listening yet, or still reading its file
                return False

    def _gateway_is_ready(self) -> bool:
        try:
            # A proxy of the environment would look for our gateway on itself.
            answer = httpx.get(f"{self.url}/readyz", trust_env=False)
        except httpx.HTTPError as error:
            self._unreadiness = f"It does not answer ({type(error).__name__})."
            return False
        self._unreadiness = failing_checks(answer)
        return answer.status_code == HTTPStatus.OK


def failing_checks(readiness: httpx.Response) -> str:
    """Return what ``/readyz`` says is wrong, one check a line; empty where nothing is."""
    try:
        checks = readiness.json()["checks"]
        return "\n".join(
            f"{check['name']}: {check['detail']}" for check in checks if not check["is_ok"]
        )
    except (ValueError, KeyError, TypeError):
        return f"/readyz answered {readiness.status_code}."


def _empty_folder(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    return folder


@contextmanager
def _sole_user_of(data_folder: Path) -> Iterator[None]:
    """Hold the folder for this process; a second service in it would take its jobs."""
    with (data_folder / "serve.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise UsageMistake(
                f"The data folder {data_folder} is in use by another `cacscore serve` (process "
                f"{lock.read().strip() or 'unknown'}). Stop that one, or name another --data-dir."
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def _stopped_by_signals(supervisor: Supervisor, interrupts: bool) -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP ask the supervisor for an orderly end.

    With ``interrupts`` the first one also raises KeyboardInterrupt.
    """

    def ask_for_end(_number: int, _frame: FrameType | None) -> None:
        is_first = not supervisor.is_stopping
        supervisor.request_stop()
        if interrupts and is_first:
            raise KeyboardInterrupt

    previous = {
        number: signal.signal(number, ask_for_end)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _free_port(host: str, port: int) -> int:
    """Return the port, or a free one for 0; UsageMistake where it cannot be listened on."""
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            number: int = probe.getsockname()[1]
            return number
    except OSError as error:
        raise UsageMistake(
            f"Port {port} of {host} cannot be listened on: {error.strerror or error}. "
            "Name another one with --port; 0 takes a free one."
        ) from error
