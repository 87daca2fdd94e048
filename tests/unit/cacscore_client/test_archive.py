"""What a folder becomes on its way to a service."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from cacscore_client.archive import packed
from cacscore_client.errors import NothingToSend


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    series = tmp_path / "Doe^Jane" / "series 1"
    series.mkdir(parents=True)
    (series / "b.dcm").write_bytes(b"second")
    (series / "a.dcm").write_bytes(b"first")
    return tmp_path / "Doe^Jane"


def test_zip_is_sent_as_it_is(tmp_path: Path) -> None:
    archive = tmp_path / "x.zip"
    archive.write_bytes(b"PK")

    with packed(archive) as sent:
        assert sent == archive


def test_archive_of_a_folder_carries_no_names_of_the_folder(folder: Path) -> None:
    with packed(folder) as archive, zipfile.ZipFile(archive) as reader:
        assert reader.namelist() == ["000001.dcm", "000002.dcm"]
        assert reader.read("000001.dcm") == b"first"


def test_same_folder_gives_the_same_bytes(folder: Path) -> None:
    with packed(folder) as archive:
        first = archive.read_bytes()
    for file in folder.rglob("*.dcm"):
        file.touch()

    with packed(folder) as archive:
        assert archive.read_bytes() == first


def test_archive_is_gone_afterwards(folder: Path) -> None:
    with packed(folder) as archive:
        pass

    assert not archive.exists()


def test_empty_folder_is_nothing_to_send(tmp_path: Path) -> None:
    with pytest.raises(NothingToSend, match="no files"), packed(tmp_path):
        pass
