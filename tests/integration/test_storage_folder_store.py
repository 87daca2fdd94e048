"""Artefacts on a real disk."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from service.adapters.storage.folder_store import FolderArtefactStore
from service.application.errors import ArtefactUnavailable, StorageFull


@pytest.fixture
def store(tmp_path: Path) -> FolderArtefactStore:
    return FolderArtefactStore(tmp_path / "artefacts")


def test_adopted_file_is_moved_and_can_be_read(store: FolderArtefactStore) -> None:
    with store.scratch() as folder:
        (folder / "a").write_bytes(b"report")
        store.adopt(folder / "a", "studies/x/job-1/report.json")
        assert not (folder / "a").exists()
    with store.open("studies/x/job-1/report.json") as stream:
        assert stream.read() == b"report"
    with store.local_copy("studies/x/job-1/report.json") as path:
        assert path.read_bytes() == b"report"


def test_file_of_another_disk_is_copied(store: FolderArtefactStore, tmp_path: Path) -> None:
    shared_memory = Path("/dev/shm")  # noqa: S108 - the only other file system that is always there
    if not shared_memory.is_dir() or shared_memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("This machine has no second file system to write to")
    source = shared_memory / f"cacscore-{os.getpid()}"
    source.write_bytes(b"mask")
    store.adopt(source, "studies/x/mask.dcm")
    assert not source.exists()
    with store.open("studies/x/mask.dcm") as stream:
        assert stream.read() == b"mask"


def test_scratch_is_removed_with_what_is_in_it(store: FolderArtefactStore) -> None:
    with store.scratch() as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_bytes(b"x")
    assert not folder.exists()


def test_removed_folder_is_gone_and_may_be_removed_again(
    store: FolderArtefactStore, tmp_path: Path
) -> None:
    with store.scratch() as folder:
        for name in ("a", "b"):
            (folder / name).write_bytes(b"x")
            store.adopt(folder / name, f"studies/x/{name}")
    store.remove("studies/x")
    store.remove("studies/x")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    with pytest.raises(ArtefactUnavailable):
        store.open("studies/x/a")


def test_no_two_uploads_share_a_folder(store: FolderArtefactStore) -> None:
    assert len({store.new_folder("a" * 26) for _ in range(100)}) == 100


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "studies/../../x", ""])
def test_key_outside_the_root_is_an_error(store: FolderArtefactStore, key: str) -> None:
    with pytest.raises(ValueError, match="below the root"):
        store.open(key)


def test_untouched_folders_are_found_by_age(store: FolderArtefactStore, tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / "artefacts" / "studies" / name).mkdir(parents=True)
    os.utime(tmp_path / "artefacts" / "studies" / "old", (0, 0))
    assert store.untouched_since(timedelta(hours=1)) == ["studies/old"]


def test_files_are_for_their_owner_only(store: FolderArtefactStore, tmp_path: Path) -> None:
    with store.scratch() as folder:
        (folder / "a").write_bytes(b"x")
        store.adopt(folder / "a", "studies/x/a")
    for folder in (tmp_path / "artefacts" / "studies", tmp_path / "artefacts" / "studies" / "x"):
        assert folder.stat().st_mode & 0o077 == 0


def test_full_disk_is_said_before_an_upload(tmp_path: Path) -> None:
    FolderArtefactStore(tmp_path, reserve_bytes=0).check()
    with pytest.raises(StorageFull):
        FolderArtefactStore(tmp_path, reserve_bytes=2**60).check()


def test_folder_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ArtefactUnavailable):
        FolderArtefactStore(tmp_path / "file").check()
