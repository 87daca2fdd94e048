"""The compose stack on a real Docker engine: brought up from a bare machine, once for all tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.stack import Stack

STAND_INS = {
    "postgres:17-bookworm": "postgres",
    "nginx:1.28": "nginx",
    "prom/prometheus:v3.5.0": "prometheus",
    "orthancteam/orthanc:26.4.2": "orthanc",
    "chrislusf/seaweedfs:3.97": "seaweedfs",
}
"""Images that the files ask for, and the folder of what stands for each without a registry."""


ALL_PROFILES = tuple(
    word for name in ("dicom", "observability", "pacs", "s3") for word in ("--profile", name)
)


@pytest.fixture(scope="session")
def stage(repository: Path) -> Path:
    """The script that brings an engine and base images; CI must have it, elsewhere it is a skip."""
    script = Path(
        os.environ.get(
            "CACSCORE_COMPOSE_STAGE", repository.parent / "shared" / "tools" / "compose_stage.sh"
        )
    )
    message = None
    if not script.is_file():
        message = f"No script at CACSCORE_COMPOSE_STAGE={script}"
    elif os.geteuid() != 0 or shutil.which("apt-get") is None:
        message = "An engine of its own needs root on Debian"
    if message is not None:
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return script


@pytest.fixture(scope="session")
def engine(stage: Path, repository: Path) -> Iterator[dict[str, str]]:
    """A Docker engine with the base images; the environment that finds it."""
    subprocess.run([str(stage), "up"], check=True, timeout=900)
    exports = subprocess.run(
        [str(stage), "env"], check=True, capture_output=True, text=True
    ).stdout.split()
    environment = dict(word.split("=", 1) for word in exports if "=" in word)
    for image, folder in STAND_INS.items():
        # Every time: what has not changed comes from the cache.
        subprocess.run(
            ["docker", "build", "--quiet", "--tag", image, folder],
            cwd=repository / "tests/compose/stand_ins",
            env={**os.environ, **environment},
            check=True,
            timeout=600,
        )
    yield environment
    # What a later build replaced: gigabytes, on a machine that runs this again.
    subprocess.run(
        ["docker", "system", "prune", "--force"],
        check=True,
        env={**os.environ, **environment},
        capture_output=True,
        timeout=300,
    )
    subprocess.run([str(stage), "stop"], check=True, timeout=60)


@pytest.fixture(scope="session")
def stack(
    engine: dict[str, str], repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """The whole stack with an empty record, under a name and a port of its own."""
    stack = Stack(repository, engine, tmp_path_factory.mktemp("compose"))
    stack.compose(*ALL_PROFILES, "down", "--volumes", "--remove-orphans")
    stack.up("--build")
    stack.learn_key_and_certificate()
    yield stack
    stack.compose(*ALL_PROFILES, "down", "--volumes", "--remove-orphans")
