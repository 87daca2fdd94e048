"""What the first bytes of a DICOM file look like."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from calcium_scoring.upload.signature import first_bytes, has_dicom_mark, may_be_dicom

MARKED = bytes(128) + b"DICM"


@pytest.mark.parametrize(
    ("head", "is_marked", "is_plausible"),
    [
        (MARKED, True, True),
        (b"\x02\x00\x00\x00", False, True),
        (b"\x08\x00\x05\x00", False, True),
        (b"\x00\x08\x00\x05", False, True),
        (b"\x89PNG", False, False),
        (MARKED[:-1], False, False),
        (b"", False, False),
    ],
    ids=["marked", "file meta", "little endian", "big endian", "picture", "cut short", "empty"],
)
def test_a_file_is_judged_by_its_first_bytes(
    tmp_path: Path, head: bytes, is_marked: bool, is_plausible: bool
) -> None:
    path = tmp_path / "file"
    path.write_bytes(head + b"x" * 1000 if head else head)

    found = first_bytes(path) if head != MARKED[:-1] else head

    assert has_dicom_mark(found) is is_marked
    assert may_be_dicom(found) is is_plausible


def test_uploads_are_looked_at_without_any_dicom_library() -> None:
    code = (
        "import sys, calcium_scoring.upload.archive, calcium_scoring.upload.signature\n"
        "sys.exit('pydicom' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
