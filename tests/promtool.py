"""Prometheus' own checker, of the Debian package `prometheus`."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


def promtool(*arguments: str, text: bytes = b"") -> str:
    """Run promtool and return what it complains of; CI must have it, elsewhere it is skipped."""
    binary = shutil.which("promtool")
    if binary is None:
        message = "No promtool on this machine (Debian: apt install prometheus)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    ended = subprocess.run([binary, *arguments], input=text, capture_output=True, check=False)
    return "" if ended.returncode == 0 else (ended.stdout + ended.stderr).decode()
