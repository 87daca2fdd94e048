"""Fixtures of the small body with a straight artery."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_training.backgrounds.marks import ScanMarks, read_marks
from model_training.backgrounds.scan import Background, background_of
from tests.unit.model_training.backgrounds.straight_artery import body, write_marks


@pytest.fixture
def marks(tmp_path: Path) -> ScanMarks:
    return read_marks(write_marks(tmp_path))


@pytest.fixture
def background(marks: ScanMarks) -> Background:
    return background_of(marks, body())
