"""Files of an upload, whether it is a zip archive or a folder; the archive is never trusted.

Whatever a zip says of itself is checked before and while its entries are inflated: Python's
``zipfile`` (3.11) has no guard against overlapping entries (19 kB that read back as 2 GB),
and any size in the directory may be a lie. Entries are written under names of our own.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Final

from calcium_scoring.errors import NotAZip, UnsafeArchive, UploadTooLarge
from calcium_scoring.upload.signature import PREAMBLE_BYTES, first_bytes, has_dicom_mark

MIB: Final = 1024 * 1024


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may ask for; the defaults are our choice.

    An export of a cardiac or chest study is some hundred files of half a MiB; deflate rarely
    packs CT better than 10 : 1, so 50 : 1 leaves room for blank slices and stops bombs.
    """

    archive_bytes: int = 2048 * MIB
    total_bytes: int = 4096 * MIB
    entry_bytes: int = 64 * MIB
    multi_frame_entry_bytes: int = 256 * MIB
    entries: int = 5_000
    name_bytes: int = 255
    depth: int = 16
    entry_ratio: float = 100.0
    archive_ratio: float = 50.0
    ratio_free_bytes: int = MIB
    """The ratios apply only beyond this many inflated bytes: a blank slice packs 500 : 1."""


@dataclass(frozen=True)
class UnpackedFile:
    """One file of an upload: where it lies now, and what the sender called it."""

    path: Path
    name: str


DEFAULT_LIMITS: Final = ArchiveLimits()

_LOCAL_HEADER: Final = struct.Struct("<4s5H3I2H")
_END_OF_DIRECTORY: Final = struct.Struct("<4s4H2IH")
_ENCRYPTED_FLAGS: Final = 0x0001 | 0x0040 | 0x2000
_SIZES_FOLLOW_DATA: Final = 0x0008
_UTF8_NAME: Final = 0x0800
_IN_ZIP64_FIELD: Final = 0xFFFFFFFF
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UNIX: Final = 3
_CHUNK_BYTES: Final = MIB
_ENHANCED_CT_SOP_CLASS: Final = b"1.2.840.10008.5.1.4.1.1.2.1"
_ARCHIVE_SIGNATURES: Final = (
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a\x07",
    b"\x1f\x8b\x08",
    b"BZh",
    b"\xfd7zXZ\x00",
    b"\x28\xb5\x2f\xfd",
)
_LARGEST_DIRECTORY_RECORD_BYTES: Final = 1024
"""A directory record has 46 bytes, a name of up to 255 and small extra fields."""


def is_clutter(name: str) -> bool:
    """Tell whether a file is what operating systems leave behind: no image, no word about it."""
    parts = name.split("/")
    return "__MACOSX" in parts or parts[-1] in {".DS_Store", "Thumbs.db", "desktop.ini"}


def files_of_upload(
    upload: Path, workdir: Path, limits: ArchiveLimits = DEFAULT_LIMITS
) -> list[UnpackedFile]:
    """Return the files of a folder, of a zip (unpacked into ``workdir``), or a single file.

    Raises
    ------
    NotAZip, UnsafeArchive, UploadTooLarge
        As :func:`unpack_upload` does. A single file that is no zip is returned as it is when
        it carries the DICOM mark.
    """
    if upload.is_dir():
        return list_upload(upload)
    if has_dicom_mark(first_bytes(upload)):
        return [UnpackedFile(upload, upload.name)]
    return unpack_upload(upload, workdir, limits)


def list_upload(folder: Path) -> list[UnpackedFile]:
    """Return the files below a folder by name; linked folders are not entered."""
    files = []
    for parent, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in names:
            path = Path(parent) / name
            relative = path.relative_to(folder).as_posix()
            if path.is_file() and not is_clutter(relative):
                files.append(UnpackedFile(path, relative))
    return sorted(files, key=lambda file: file.name)


def unpack_upload(
    path: Path, folder: Path, limits: ArchiveLimits = DEFAULT_LIMITS
) -> list[UnpackedFile]:
    """Unpack a zip archive into a folder, entry by entry, under names of our own.

    The preamble of DICOM files (128 bytes that may hold another program) is blanked.

    Raises
    ------
    NotAZip
        The bytes are not a complete zip archive.
    UnsafeArchive
        Encrypted, linked, nested, overlapping, absolute or escaping entries, a method other
        than stored or deflate, headers that contradict each other, data that contradict them,
        or a compression ratio beyond the limit.
    UploadTooLarge
        A limit on bytes, entries or names is exceeded.
    """
    archive_bytes = path.stat().st_size
    if archive_bytes > limits.archive_bytes:
        raise UploadTooLarge(
            f"The archive has {archive_bytes} bytes; at most {limits.archive_bytes} are accepted.",
            archive_bytes=archive_bytes,
            limit_bytes=limits.archive_bytes,
        )
    with path.open("rb") as stream:
        _check_end_of_directory(stream, archive_bytes, limits)
        try:
            with zipfile.ZipFile(stream) as archive:
                entries = _checked_entries(archive, stream, limits)
                folder.mkdir(parents=True, exist_ok=True)
                return _inflate_all(archive, entries, folder, archive_bytes, limits)
        except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, UnicodeError) as error:
            # `error` may quote an entry's name; names may hold a patient's.
            raise NotAZip(
                "The archive is damaged: its directory or its data cannot be read to the end. "
                "Send the zip again, complete."
            ) from error
        except NotImplementedError as error:
            raise UnsafeArchive(
                "The archive uses a feature of zip that is not accepted (multiple disks, patches "
                "or strong encryption). Send a plain zip."
            ) from error


def _check_end_of_directory(stream: BinaryIO, archive_bytes: int, limits: ArchiveLimits) -> None:
    """Refuse what is no zip, and a directory too large to be read, before anything parses it."""
    if stream.read(4) not in {b"PK\x03\x04", b"PK\x05\x06"}:
        raise NotAZip("The upload does not begin like a zip archive. Send the series as one zip.")
    tail_bytes = min(archive_bytes, _END_OF_DIRECTORY.size + 0xFFFF)
    stream.seek(archive_bytes - tail_bytes)
    tail = stream.read(tail_bytes)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END_OF_DIRECTORY.size:
        raise NotAZip("The archive has no directory at its end: it was cut short. Send it again.")
    _, _, _, _, entries, directory_bytes, _, _ = _END_OF_DIRECTORY.unpack_from(tail, at)
    locator = tail.rfind(b"PK\x06\x07", 0, at)
    if locator >= 0 and at - locator == 20:
        record_at = struct.unpack_from("<Q", tail, locator + 8)[0]
        stream.seek(min(record_at, archive_bytes))
        record = stream.read(56)
        if len(record) == 56 and record.startswith(b"PK\x06\x06"):
            entries, directory_bytes = struct.unpack_from("<2Q", record, 32)
    if entries > limits.entries:
        raise _too_many_entries(entries, limits)
    if directory_bytes > limits.entries * _LARGEST_DIRECTORY_RECORD_BYTES:
        raise UploadTooLarge(
            f"The directory of the archive has {directory_bytes} bytes; for {limits.entries} "
            f"entries {limits.entries * _LARGEST_DIRECTORY_RECORD_BYTES} are enough.",
            directory_bytes=directory_bytes,
        )
    stream.seek(0)


def _too_many_entries(entries: int, limits: ArchiveLimits) -> UploadTooLarge:
    return UploadTooLarge(
        f"The archive has {entries} entries; at most {limits.entries} are accepted. "
        "Send one study at a time.",
        entries=entries,
        limit_entries=limits.entries,
    )


def _checked_entries(
    archive: zipfile.ZipFile, stream: BinaryIO, limits: ArchiveLimits
) -> list[tuple[int, zipfile.ZipInfo]]:
    """Return the number and record of each file entry, after checking all of them."""
    records = archive.infolist()
    if len(records) > limits.entries:
        raise _too_many_entries(len(records), limits)
    claimed_bytes = sum(record.file_size for record in records)
    if claimed_bytes > limits.total_bytes:
        raise _inflates_too_far(limits)
    spans = []
    for number, record in enumerate(records, start=1):
        _check_name(number, record, limits)
        _check_kind(number, record)
        spans.append(_span(number, record, stream))
    spans.sort()
    for (_, end), (start, _) in pairwise([*spans, (archive.start_dir, 0)]):
        if end > start:
            raise UnsafeArchive(
                "Entries of the archive overlap in the file; each must have bytes of its own."
            )
    return [
        (number, record)
        for number, record in enumerate(records, start=1)
        if not record.is_dir() and not is_clutter(record.filename)
    ]


def _check_name(number: int, record: zipfile.ZipInfo, limits: ArchiveLimits) -> None:
    name = record.orig_filename
    parts = name.rstrip("/").split("/")
    if len(name.encode("utf-8", "surrogatepass")) > limits.name_bytes or len(parts) > limits.depth:
        raise UploadTooLarge(
            f"The name of entry {number} is longer than {limits.name_bytes} bytes or deeper than "
            f"{limits.depth} folders.",
            entry_number=number,
        )
    complaint = None
    if "\x00" in name or "\\" in name:
        complaint = "holds a NUL or a backslash"
    elif name.startswith("/") or parts[0].endswith(":"):
        complaint = "is absolute"
    elif ".." in parts or not name:
        complaint = "leaves the archive's own folder"
    if complaint:
        raise UnsafeArchive(
            f"The name of entry {number} {complaint}; names must be relative paths below the "
            "archive's root, separated by '/'.",
            entry_number=number,
        )


def _check_kind(number: int, record: zipfile.ZipInfo) -> None:
    complaint = None
    kind = stat.S_IFMT(record.external_attr >> 16) if record.create_system == _UNIX else 0
    if record.flag_bits & _ENCRYPTED_FLAGS:
        complaint = "is encrypted"
    elif record.compress_type not in _METHODS:
        complaint = f"uses compression method {record.compress_type}"
    elif kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        complaint = "is a link or a device"
    elif record.volume:
        complaint = "lies on another disk"
    if complaint:
        raise UnsafeArchive(
            f"Entry {number} {complaint}; only plain files and folders, stored or deflated and "
            "not encrypted, are accepted.",
            entry_number=number,
        )


def _span(number: int, record: zipfile.ZipInfo, stream: BinaryIO) -> tuple[int, int]:
    """Return the bytes that an entry occupies, after comparing its two headers."""
    if record.header_offset < 0:
        raise zipfile.BadZipFile
    stream.seek(record.header_offset)
    header = stream.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
        raise NotAZip("The archive is damaged: an entry is not where its directory says.")
    (_, _, flags, method, _, _, crc, compressed, inflated, name_bytes, extra_bytes) = (
        _LOCAL_HEADER.unpack(header)
    )
    name = stream.read(name_bytes).decode("utf-8" if flags & _UTF8_NAME else "cp437")
    agrees = (
        name == record.orig_filename
        and method == record.compress_type
        and not (flags ^ record.flag_bits) & (_ENCRYPTED_FLAGS | _SIZES_FOLLOW_DATA)
    )
    if not flags & _SIZES_FOLLOW_DATA:
        agrees = (
            agrees
            and crc == record.CRC
            and compressed in {record.compress_size, _IN_ZIP64_FIELD}
            and inflated in {record.file_size, _IN_ZIP64_FIELD}
        )
    if not agrees:
        raise UnsafeArchive(
            f"The two headers of entry {number} contradict each other in name, method or size.",
            entry_number=number,
        )
    data_at = record.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
    return record.header_offset, data_at + record.compress_size


def _inflates_too_far(limits: ArchiveLimits) -> UploadTooLarge:
    return UploadTooLarge(
        f"The archive inflates to more than {limits.total_bytes} bytes. Send one study at a time.",
        limit_bytes=limits.total_bytes,
    )


def _inflate_all(
    archive: zipfile.ZipFile,
    entries: list[tuple[int, zipfile.ZipInfo]],
    folder: Path,
    archive_bytes: int,
    limits: ArchiveLimits,
) -> list[UnpackedFile]:
    files = []
    total_bytes = 0
    for written, (number, record) in enumerate(entries, start=1):
        target = folder / f"{written:06d}.dcm"
        with target.open("xb") as out:
            for chunk in _inflated(archive, record, number, limits):
                total_bytes += len(chunk)
                if total_bytes > limits.total_bytes:
                    raise _inflates_too_far(limits)
                if total_bytes > limits.ratio_free_bytes + limits.archive_ratio * archive_bytes:
                    raise UnsafeArchive(
                        f"The archive inflates to more than {limits.archive_ratio:g} times its "
                        "size; a CT series does not.",
                        limit_ratio=limits.archive_ratio,
                    )
                out.write(chunk)
        files.append(UnpackedFile(target, record.filename))
    return files


def _inflated(
    archive: zipfile.ZipFile, record: zipfile.ZipInfo, number: int, limits: ArchiveLimits
) -> Iterator[bytes]:
    """Yield the bytes of an entry, counting what really comes out."""
    entry_bytes = 0
    allowed_bytes = limits.entry_bytes
    with archive.open(record) as source:
        while chunk := source.read(_CHUNK_BYTES):
            if entry_bytes == 0:
                if has_dicom_mark(chunk):
                    chunk = bytes(PREAMBLE_BYTES) + chunk[PREAMBLE_BYTES:]
                    if _ENHANCED_CT_SOP_CLASS in chunk[:1024]:
                        allowed_bytes = limits.multi_frame_entry_bytes
                elif chunk.startswith(_ARCHIVE_SIGNATURES):
                    raise UnsafeArchive(
                        f"Entry {number} is an archive itself; send the images in one plain zip.",
                        entry_number=number,
                    )
            entry_bytes += len(chunk)
            if entry_bytes > allowed_bytes:
                raise UploadTooLarge(
                    f"Entry {number} inflates to more than {allowed_bytes} bytes; a CT slice has "
                    "about half a million.",
                    entry_number=number,
                    limit_bytes=allowed_bytes,
                )
            if entry_bytes > limits.ratio_free_bytes + limits.entry_ratio * record.compress_size:
                raise UnsafeArchive(
                    f"Entry {number} inflates to more than {limits.entry_ratio:g} times its size; "
                    "a CT slice does not.",
                    entry_number=number,
                    limit_ratio=limits.entry_ratio,
                )
            yield chunk
    if entry_bytes != record.file_size:
        # zipfile itself only notices what is longer than the directory says, not what is shorter.
        raise UnsafeArchive(
            f"Entry {number} inflates to {entry_bytes} bytes; its headers say {record.file_size}.",
            entry_number=number,
        )
