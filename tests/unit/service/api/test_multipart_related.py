"""Parts of a multipart body, however it is cut into pieces on its way."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calcium_scoring.errors import UploadTooLarge
from calcium_scoring.upload.archive import ArchiveLimits
from service.api.errors import MalformedForm
from service.api.multipart_related import PartReader

HEAD = b"--b\r\nContent-Type: application/dicom\r\n\r\n"
LIMIT = 1024 * 1024


def reader(folder: Path, *, entries: int = 10) -> PartReader:
    return PartReader(b"b", folder, LIMIT, ArchiveLimits(entries=entries))


# Bytes that look like the beginnings of a boundary, as pixels may.
PIECES = st.lists(st.sampled_from([b"\r", b"\n", b"-", b"--", b"\r\n-", b"\r\n--", b"x", b"\0"]))


@given(
    contents=st.lists(PIECES.map(b"".join), min_size=1, max_size=4),
    cuts=st.lists(st.integers(1, 20), min_size=1, max_size=30),
    preamble=st.sampled_from([b"", b"\r\n", b"read by no one\r\n"]),
)
def test_parts_are_what_was_sent_wherever_the_body_is_cut(
    contents: list[bytes], cuts: list[int], preamble: bytes
) -> None:
    body = preamble + b"\r\n".join(HEAD + one for one in contents) + b"\r\n--b--\r\nafterwards"
    with tempfile.TemporaryDirectory() as folder:
        parts = reader(Path(folder))
        at = 0
        while at < len(body):
            size = cuts[at % len(cuts)]
            parts.take(body[at : at + size])
            at += size
        found = [file.read_bytes() for file in parts.finish()]
    assert found == contents


def test_more_instances_than_are_accepted_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UploadTooLarge, match="more than 2 instances"):
        reader(tmp_path, entries=2).take((HEAD + b"x\r\n") * 3 + b"--b--")


def test_header_fields_without_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedForm, match="8192 bytes"):
        reader(tmp_path).take(b"--b\r\nX: " + b"y" * 10_000)


def test_text_behind_a_boundary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedForm, match="followed by other text"):
        reader(tmp_path).take(b"--bb\r\n\r\n")
