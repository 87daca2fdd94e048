"""A real Orthanc with its DICOMweb plugin, on free ports, in a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

START_TIMEOUT_S = 60.0
AE_TITLE = "ORTHANC"
_PLUGIN_FOLDERS = (Path("/usr/share/orthanc/plugins"), Path("/usr/lib/orthanc/plugins"))


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class Orthanc:
    """An archive that nobody here wrote; ``modalities`` are nodes it may send to."""

    binary: Path
    plugin: Path
    folder: Path
    modalities: dict[str, Sequence[Any]] = field(default_factory=dict)
    script: str | None = None
    """Lua that it runs, such as a rule of routing."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Further settings, and others in place of those below."""
    credentials: tuple[str, str] | None = None
    http_port: int = field(default_factory=free_port)
    dicom_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def dicomweb_url(self) -> str:
        return f"{self.url}/dicom-web"

    def start(self) -> None:
        """Start it and wait until it answers over HTTP and DICOM."""
        settings = self.folder / "orthanc.json"
        scripts = []
        if self.script is not None:
            scripts.append(str(self.folder / "script.lua"))
            (self.folder / "script.lua").write_text(self.script)
        settings.write_text(
            json.dumps(
                {
                    "Name": "test",
                    "StorageDirectory": str(self.folder / "storage"),
                    "IndexDirectory": str(self.folder / "storage"),
                    "Plugins": [str(self.plugin)],
                    "HttpPort": self.http_port,
                    "HttpDescribeErrors": False,
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": False,
                    "DicomServerEnabled": True,
                    "DicomAet": AE_TITLE,
                    "DicomPort": self.dicom_port,
                    "DicomModalities": dict(self.modalities),
                    "DicomAlwaysAllowMove": True,
                    "DicomAlwaysAllowFind": True,
                    "DicomAlwaysAllowGet": True,
                    "OverwriteInstances": False,
                    "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
                    "LuaScripts": scripts,
                    **self.settings,
                }
            )
        )
        with (self.folder / "orthanc.log").open("ab") as log:
            self.process = subprocess.Popen([self.binary, settings], stdout=log, stderr=log)
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                httpx.get(f"{self.dicomweb_url}/studies", auth=self.credentials).raise_for_status()
                socket.create_connection(("127.0.0.1", self.dicom_port), timeout=5.0).close()
            except (httpx.HTTPError, OSError):
                log_text = (self.folder / "orthanc.log").read_text(errors="replace")
                assert self.process.poll() is None, log_text
                assert time.monotonic() < deadline, log_text
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def count_of_instances(self) -> int:
        """Return how many objects it holds."""
        return int(httpx.get(f"{self.url}/statistics").json()["CountInstances"])

    def delete(self, sop_instance_uid: str) -> None:
        """Delete an object."""
        answer = httpx.post(f"{self.url}/tools/lookup", content=sop_instance_uid)
        for one in answer.json():
            if one["Type"] == "Instance":
                httpx.delete(f"{self.url}/instances/{one['ID']}").raise_for_status()

    def found(self, level: str, **keys: str) -> list[dict[str, Any]]:
        """Ask by QIDO-RS; return DICOM JSON."""
        answer = httpx.get(
            f"{self.dicomweb_url}/{level}",
            params=keys,
            headers={"Accept": "application/dicom+json"},
        )
        answer.raise_for_status()
        documents: list[dict[str, Any]] = answer.json()
        return documents


@contextmanager
def running_orthanc(
    folder: Path,
    modalities: dict[str, Sequence[Any]] | None = None,
    *,
    script: str | None = None,
    settings: dict[str, Any] | None = None,
    credentials: tuple[str, str] | None = None,
) -> Iterator[Orthanc]:
    """Run an Orthanc; CI must have it, elsewhere its absence is a skip."""
    binary = shutil.which("Orthanc")
    plugin = next(
        (one for root in _PLUGIN_FOLDERS for one in root.glob("libOrthancDicomWeb.so*")), None
    )
    if binary is None or plugin is None:
        message = "No Orthanc with DICOMweb here (Debian: apt install orthanc orthanc-dicomweb)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    one = Orthanc(
        Path(binary), plugin, folder, modalities or {}, script, settings or {}, credentials
    )
    one.start()
    try:
        yield one
    finally:
        one.kill()
