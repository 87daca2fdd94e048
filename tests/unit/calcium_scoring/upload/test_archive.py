"""What an archive may hold, and the attacks that must be refused."""

from __future__ import annotations

import stat
import struct
import zipfile
from collections.abc import Callable
from contextlib import suppress
from io import RawIOBase
from pathlib import Path

import pytest

from calcium_scoring.errors import NotAZip, UnsafeArchive, UploadRejected, UploadTooLarge
from calcium_scoring.upload.archive import (
    ArchiveLimits,
    files_of_upload,
    list_upload,
    unpack_upload,
)

DICOM = bytes(128) + b"DICM" + bytes(range(256)) * 4
SMALL = ArchiveLimits(
    archive_bytes=100_000,
    total_bytes=50_000,
    entry_bytes=20_000,
    multi_frame_entry_bytes=40_000,
    entries=10,
    ratio_free_bytes=1_000,
)


def archive_of(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def noise(size: int) -> bytes:
    value, out = 1, bytearray()
    while len(out) < size:
        value = value * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
        out += struct.pack(">Q", value)
    return bytes(out[:size])


def test_entries_are_unpacked_under_names_of_our_own(tmp_path: Path) -> None:
    upload = archive_of(tmp_path / "a.zip", {"DOE/IM 1": DICOM, "DOE/sub/ü.dcm": DICOM + b"x"})

    files = unpack_upload(upload, tmp_path / "out")

    assert [file.path.name for file in files] == ["000001.dcm", "000002.dcm"]
    assert [file.name for file in files] == ["DOE/IM 1", "DOE/sub/ü.dcm"]
    assert files[1].path.read_bytes() == DICOM + b"x"


class OneWayStream(RawIOBase):
    """A stream that cannot go back, as a download: sizes then follow the data."""

    def __init__(self) -> None:
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, content: bytes) -> int:  # type: ignore[override]
        self.content += content
        return len(content)


def test_archives_that_were_streamed_and_large_ones_are_unpacked(tmp_path: Path) -> None:
    """Sizes behind the data (bit 3) and in the zip64 field are both honest."""
    stream = OneWayStream()
    with (
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("1.dcm", "w", force_zip64=True) as entry,
    ):
        entry.write(DICOM)
    streamed = tmp_path / "streamed.zip"
    streamed.write_bytes(stream.content)
    large = tmp_path / "large.zip"
    with (
        zipfile.ZipFile(large, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("1.dcm", "w", force_zip64=True) as entry,
    ):
        entry.write(DICOM)

    for upload in (streamed, large):
        (file,) = unpack_upload(upload, tmp_path / upload.stem)
        assert file.path.read_bytes() == DICOM


def test_folders_and_what_operating_systems_leave_behind_are_ignored(tmp_path: Path) -> None:
    upload = archive_of(
        tmp_path / "a.zip",
        {
            "series/": b"",
            "series/1.dcm": DICOM,
            "series/.DS_Store": b"x",
            "series/Thumbs.db": b"x",
            "__MACOSX/series/._1.dcm": b"x",
        },
    )

    assert [file.name for file in unpack_upload(upload, tmp_path / "out")] == ["series/1.dcm"]


def test_the_preamble_of_a_dicom_file_is_blanked(tmp_path: Path) -> None:
    program = b"MZ" + bytes(126)
    upload = archive_of(tmp_path / "a.zip", {"1.dcm": program + DICOM[128:]})

    (file,) = unpack_upload(upload, tmp_path / "out")

    assert file.path.read_bytes() == DICOM


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../up.dcm", "a/../../up.dcm", "a\\b.dcm", "C:/windows.dcm", ".."],
    ids=["absolute", "parent", "inner parent", "backslash", "drive", "only parent"],
)
def test_names_that_leave_the_archive_are_refused(tmp_path: Path, name: str) -> None:
    upload = archive_of(tmp_path / "a.zip", {"ok.dcm": DICOM, name: DICOM})

    with pytest.raises(UnsafeArchive) as refusal:
        unpack_upload(upload, tmp_path / "out")

    assert refusal.value.evidence == {"entry_number": 2}
    assert not list(tmp_path.glob("out/*"))


def test_a_name_with_a_nul_is_refused(tmp_path: Path) -> None:
    upload = archive_of(tmp_path / "a.zip", {"ok.dcm?.exe": DICOM})
    upload.write_bytes(upload.read_bytes().replace(b"ok.dcm?.exe", b"ok.dcm\0.exe"))

    with pytest.raises(UnsafeArchive, match="NUL"):
        unpack_upload(upload, tmp_path / "out")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    upload = tmp_path / "a.zip"
    entry = zipfile.ZipInfo("1.dcm")
    entry.create_system = 3
    entry.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(upload, "w") as archive:
        archive.writestr(entry, "/etc/passwd")

    with pytest.raises(UnsafeArchive, match="link or a device"):
        unpack_upload(upload, tmp_path / "out")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_than_deflate_are_refused(tmp_path: Path, method: int) -> None:
    upload = tmp_path / "a.zip"
    with zipfile.ZipFile(upload, "w", method) as archive:
        archive.writestr("1.dcm", DICOM)

    with pytest.raises(UnsafeArchive, match="compression method"):
        unpack_upload(upload, tmp_path / "out")


def test_encrypted_entries_are_refused(tmp_path: Path) -> None:
    upload = archive_of(tmp_path / "a.zip", {"1.dcm": DICOM})
    content = bytearray(upload.read_bytes())
    content[6] |= 1  # general purpose flags of the local header
    content[content.index(b"PK\x01\x02") + 8] |= 1  # and of the directory
    upload.write_bytes(content)

    with pytest.raises(UnsafeArchive, match="encrypted"):
        unpack_upload(upload, tmp_path / "out")


@pytest.mark.parametrize(
    "inner",
    [b"PK\x03\x04", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"\x1f\x8b\x08", b"BZh9"],
    ids=["zip", "7z", "rar", "gzip", "bzip2"],
)
def test_an_archive_within_the_archive_is_refused(tmp_path: Path, inner: bytes) -> None:
    upload = archive_of(tmp_path / "a.zip", {"inner.dcm": inner + bytes(300)})

    with pytest.raises(UnsafeArchive, match="archive itself"):
        unpack_upload(upload, tmp_path / "out")


def test_entries_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    """The overlap bomb: many directory records on one local header."""
    upload = archive_of(tmp_path / "a.zip", {"1.dcm": DICOM})
    content = upload.read_bytes()
    at = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    record = content[at:end]
    directory = record * 5
    ending = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 5, 5, len(directory), at, 0)
    upload.write_bytes(content[:at] + directory + ending)

    with pytest.raises(UnsafeArchive, match="overlap"):
        unpack_upload(upload, tmp_path / "out")


@pytest.mark.parametrize(
    ("offset", "value"),
    [(8, 0), (14, 7), (18, 7), (22, 7), (30, ord("9"))],
    ids=["method", "crc", "compressed size", "size", "name"],
)
def test_two_headers_that_contradict_each_other_are_refused(
    tmp_path: Path, offset: int, value: int
) -> None:
    upload = archive_of(tmp_path / "a.zip", {"1.dcm": DICOM})
    content = bytearray(upload.read_bytes())
    content[offset] = value  # in the local header; the directory stays as it was
    upload.write_bytes(content)

    with pytest.raises(UnsafeArchive, match="contradict"):
        unpack_upload(upload, tmp_path / "out")


def test_a_size_that_is_a_lie_in_both_headers_is_found_while_inflating(tmp_path: Path) -> None:
    upload = archive_of(tmp_path / "a.zip", {"1.dcm": DICOM})
    content = upload.read_bytes().replace(struct.pack("<I", len(DICOM)), struct.pack("<I", 100))
    upload.write_bytes(content)

    with pytest.raises(NotAZip, match="damaged"):
        unpack_upload(upload, tmp_path / "out")


def test_an_entry_that_inflates_too_far_is_refused(tmp_path: Path) -> None:
    upload = archive_of(tmp_path / "a.zip", {"1.dcm": noise(20_001)})

    with pytest.raises(UploadTooLarge) as refusal:
        unpack_upload(upload, tmp_path / "out", SMALL)

    assert refusal.value.evidence == {"entry_number": 1, "limit_bytes": 20_000}


def test_an_enhanced_multi_frame_entry_may_be_larger(tmp_path: Path) -> None:
    enhanced = DICOM[:132] + b"1.2.840.10008.5.1.4.1.1.2.1\0" + noise(30_000)
    upload = archive_of(tmp_path / "a.zip", {"1.dcm": enhanced})

    assert len(unpack_upload(upload, tmp_path / "out", SMALL)) == 1


def test_an_entry_that_was_packed_too_well_is_refused(tmp_path: Path) -> None:
    upload = archive_of(tmp_path / "a.zip", {"1.dcm": bytes(19_000), "2.dcm": noise(15_000)})

    with pytest.raises(UnsafeArchive, match="100 times"):
        unpack_upload(upload, tmp_path / "out", SMALL)


def test_an_archive_that_was_packed_too_well_is_refused(tmp_path: Path) -> None:
    entries = {f"{number}.dcm": noise(100) + bytes(9_000) for number in range(5)}
    upload = archive_of(tmp_path / "a.zip", entries)
    limits = ArchiveLimits(ratio_free_bytes=1_000, archive_ratio=10, entry_ratio=1_000)

    with pytest.raises(UnsafeArchive, match="10 times"):
        unpack_upload(upload, tmp_path / "out", limits)


def test_an_archive_that_inflates_too_far_is_refused(tmp_path: Path) -> None:
    entries = {f"{number}.dcm": noise(15_000) for number in range(4)}
    upload = archive_of(tmp_path / "a.zip", entries)

    with pytest.raises(UploadTooLarge, match="50000 bytes"):
        unpack_upload(upload, tmp_path / "out", SMALL)


@pytest.mark.parametrize(
    "entries",
    [
        {f"{number}.dcm": DICOM for number in range(11)},
        {"x" * 256: DICOM},
        {"/".join("d" * 17): DICOM},
    ],
    ids=["too many", "name too long", "too deep"],
)
def test_limits_on_entries_and_names_are_kept(tmp_path: Path, entries: dict[str, bytes]) -> None:
    with pytest.raises(UploadTooLarge):
        unpack_upload(archive_of(tmp_path / "a.zip", entries), tmp_path / "out", SMALL)


def test_an_archive_of_too_many_bytes_is_refused(tmp_path: Path) -> None:
    upload = archive_of(tmp_path / "a.zip", {"1.dcm": noise(100_000)})

    with pytest.raises(UploadTooLarge, match="at most 100000"):
        unpack_upload(upload, tmp_path / "out", SMALL)


def test_a_claimed_number_of_entries_is_refused_before_the_directory_is_read(
    tmp_path: Path,
) -> None:
    upload = archive_of(tmp_path / "a.zip", {"1.dcm": DICOM})
    content = bytearray(upload.read_bytes())
    at = content.index(b"PK\x05\x06")
    struct.pack_into("<2H", content, at + 8, 60_000, 60_000)
    upload.write_bytes(content)

    with pytest.raises(UploadTooLarge, match="60000 entries"):
        unpack_upload(upload, tmp_path / "out")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"",
        lambda _: b"not a zip at all" * 20,
        lambda content: content[: len(content) // 2],
        lambda content: b"MZ" + content,
        lambda content: content[:40] + bytes(50) + content[90:],
    ],
    ids=["empty", "text", "cut short", "something before it", "damaged data"],
)
def test_what_is_no_complete_zip_is_refused(
    tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    upload = archive_of(tmp_path / "a.zip", {"1.dcm": DICOM, "2.dcm": DICOM})
    upload.write_bytes(spoil(upload.read_bytes()))

    with pytest.raises(NotAZip):
        unpack_upload(upload, tmp_path / "out")


def test_a_flipped_byte_never_ends_in_anything_but_a_refusal(tmp_path: Path) -> None:
    content = archive_of(tmp_path / "a.zip", {"1.dcm": DICOM[:200], "2.dcm": b"x"}).read_bytes()
    upload = tmp_path / "b.zip"
    for at in range(len(content)):
        upload.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
        with suppress(UploadRejected):
            unpack_upload(upload, tmp_path / f"out{at}")


def test_an_empty_archive_has_no_files(tmp_path: Path) -> None:
    assert unpack_upload(archive_of(tmp_path / "a.zip", {}), tmp_path / "out") == []


def test_a_folder_is_listed_by_name(tmp_path: Path) -> None:
    for name in ("b/2.dcm", "a/1.dcm", "b/.DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(DICOM)

    assert [file.name for file in list_upload(tmp_path)] == ["a/1.dcm", "b/2.dcm"]


def test_one_function_takes_a_folder_an_archive_and_a_single_file(tmp_path: Path) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    (folder / "1.dcm").write_bytes(DICOM)
    archive = archive_of(tmp_path / "a.zip", {"1.dcm": DICOM})

    for upload in (folder, archive, folder / "1.dcm"):
        (file,) = files_of_upload(upload, tmp_path / upload.stem)
        assert file.path.read_bytes() == DICOM
        assert file.name == "1.dcm"
