"""Archives that nobody sends by accident, each with the refusal that is due to it.

They are put together byte by byte: a library of zip would not write most of them.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Final

MIB: Final = 1024 * 1024

DICOM_MARK: Final = bytes(128) + b"DICM"

STORED, DEFLATED = 0, 8

NOT_A_ZIP: Final = frozenset({"not_a_zip"})
UNSAFE: Final = frozenset({"unsafe_archive"})
TOO_LARGE: Final = frozenset({"upload_too_large"})
NO_DICOM: Final = frozenset({"no_dicom_found"})

Build = Callable[[], bytes]


@dataclass(frozen=True)
class ZipAttack:
    """An upload and the codes of which one must be its refusal."""

    name: str
    build: Build
    codes: frozenset[str]


@dataclass
class Entry:
    """One entry; whatever is given overrides what would be true."""

    name: bytes = b"1.dcm"
    content: bytes = DICOM_MARK + b"x" * 100
    method: int = STORED
    flags: int = 0
    data: bytes | None = None
    local: dict[str, int | bytes] = field(default_factory=dict)
    central: dict[str, int | bytes] = field(default_factory=dict)
    unix_mode: int = 0o100644

    def packed(self) -> bytes:
        """Return the bytes between the local header and whatever follows."""
        if self.data is not None:
            return self.data
        if self.method != DEFLATED:
            return self.content
        return deflated(self.content)


def deflated(content: bytes) -> bytes:
    """Return a raw deflate stream."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


def _fields(entry: Entry, changes: dict[str, int | bytes]) -> dict[str, int | bytes]:
    data = entry.packed()
    return {
        "signature": b"",
        "flags": entry.flags,
        "method": entry.method,
        "crc": zlib.crc32(entry.content),
        "compressed": len(data),
        "inflated": len(entry.content),
        "name": entry.name,
        "extra": b"",
        "disk": 0,
        **changes,
    }


def raw_zip(
    entries: Sequence[Entry],
    *,
    before: bytes = b"",
    after: bytes = b"",
    end: dict[str, int] | None = None,
    comment: bytes = b"",
) -> bytes:
    """Put an archive together; ``end`` overrides fields of the end of the directory."""
    out = BytesIO()
    out.write(before)
    offsets = []
    for entry in entries:
        offsets.append(out.tell())
        out.write(local_header(entry))
        out.write(entry.packed())
    directory_at = out.tell()
    for entry, offset in zip(entries, offsets, strict=True):
        out.write(central_header(entry, offset))
    directory_bytes = out.tell() - directory_at
    out.write(after)
    out.write(
        end_of_directory(
            **{
                "entries": len(entries),
                "size": directory_bytes,
                "offset": directory_at,
                **(end or {}),
            },
            comment=comment,
        )
    )
    return out.getvalue()


def local_header(entry: Entry) -> bytes:
    """Return a local file header (APPNOTE 4.3.7)."""
    f = _fields(entry, entry.local)
    name, extra = bytes(f["name"]), bytes(f["extra"])
    return (
        (bytes(f["signature"]) or b"PK\x03\x04")
        + struct.pack(
            "<5H3I2H",
            *(20, f["flags"], f["method"], 0, 0x21),
            *(f["crc"], f["compressed"], f["inflated"]),
            *(len(name), len(extra)),
        )
        + name
        + extra
    )


def central_header(entry: Entry, offset: int) -> bytes:
    """Return a record of the directory (APPNOTE 4.3.12)."""
    f = _fields(entry, {"offset": offset, **entry.central})
    name, extra = bytes(f["name"]), bytes(f["extra"])
    return (
        (bytes(f["signature"]) or b"PK\x01\x02")
        + struct.pack(
            "<6H3I5H2I",
            *(3 << 8 | 20, 20, f["flags"], f["method"], 0, 0x21),
            *(f["crc"], f["compressed"], f["inflated"]),
            *(len(name), len(extra), 0, f["disk"], 0),
            *(entry.unix_mode << 16, f["offset"]),
        )
        + name
        + extra
    )


def end_of_directory(
    *, entries: int, size: int, offset: int, comment: bytes = b"", disk: int = 0
) -> bytes:
    """Return the end of the directory (APPNOTE 4.3.16)."""
    return (
        struct.pack(
            "<4s4H2IH", b"PK\x05\x06", disk, disk, entries, entries, size, offset, len(comment)
        )
        + comment
    )


def zip64_end(*, entries: int, size: int, offset: int, at: int) -> bytes:
    """Return the zip64 end of the directory, its locator and an end that defers to it."""
    record = struct.pack(
        "<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, entries, entries, size, offset
    )
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, at, 1)
    return record + locator + end_of_directory(entries=0xFFFF, size=0xFFFFFFFF, offset=0xFFFFFFFF)


def _named(name: bytes) -> Build:
    return lambda: raw_zip([Entry(name=name)])


def _inner(content: bytes) -> Build:
    return lambda: raw_zip([Entry(content=content)])


def _honest(files: dict[str, bytes]) -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def _flat_bomb() -> bytes:
    return raw_zip([Entry(content=DICOM_MARK + bytes(100 * MIB), method=DEFLATED)])


def _many_bombs() -> bytes:
    entries = [
        Entry(name=b"%d.dcm" % n, content=DICOM_MARK + bytes(MIB - 200), method=DEFLATED)
        for n in range(100)
    ]
    return raw_zip(entries)


def _bomb_behind_noise() -> bytes:
    """The first MiB packs badly, what follows very well."""
    noise = b"".join(zlib.crc32(b"%d" % n).to_bytes(4, "little") for n in range(1000))
    return raw_zip([Entry(content=DICOM_MARK + noise + bytes(60 * MIB), method=DEFLATED)])


def _one_header_many_records(count: int = 200) -> bytes:
    """The overlap that reads 19 kB back as 2 GB."""
    entry = Entry(content=DICOM_MARK + bytes(10 * MIB), method=DEFLATED)
    body = local_header(entry) + entry.packed()
    directory = central_header(entry, 0) * count
    return body + directory + end_of_directory(entries=count, size=len(directory), offset=len(body))


def _quoted_overlap(count: int = 50) -> bytes:
    """Fifield's bomb: each local header is quoted as data of the entry before it (WOOT 2019)."""
    kernel = Entry(name=b"k", content=DICOM_MARK + bytes(5 * MIB), method=DEFLATED)
    tail = local_header(kernel) + kernel.packed()
    entries = [(kernel, tail)]
    body = tail
    inflated = kernel.content
    for number in range(count):
        quoted = entries[0][0]
        header = local_header(quoted)
        block = b"\x00" + struct.pack("<HH", len(header), len(header) ^ 0xFFFF) + header
        inflated = header + inflated
        data = block + quoted.packed()
        entry = Entry(name=b"%d" % number, content=inflated, method=DEFLATED, data=data)
        body = local_header(entry) + block + body[len(header) :]
        entries.insert(0, (entry, body))
        if len(inflated) > 6 * MIB:
            break
    offsets = [len(body) - len(own) for _, own in entries]
    directory = b"".join(
        central_header(entry, offset) for (entry, _), offset in zip(entries, offsets, strict=True)
    )
    return (
        body
        + directory
        + end_of_directory(entries=len(entries), size=len(directory), offset=len(body))
    )


def _reaches_into_next() -> bytes:
    first, second = Entry(name=b"1"), Entry(name=b"2")
    whole = local_header(second) + second.packed()
    claims = {"compressed": len(first.packed()) + len(whole), "inflated": len(whole)}
    first.local, first.central = dict(claims), dict(claims)
    return raw_zip([first, second])


def _reaches_into_directory() -> bytes:
    entry = Entry()
    claims: dict[str, int | bytes] = {"compressed": len(entry.packed()) + 40}
    entry.local, entry.central = dict(claims), dict(claims)
    return raw_zip([entry])


def _entries(count: int, *, claimed: int | None = None) -> bytes:
    entries = [Entry(name=b"%d" % n, content=b"") for n in range(count)]
    return raw_zip(entries, end={"entries": (count if claimed is None else claimed) & 0xFFFF})


def _zip64(
    *, entries: int = 1, size: int | None = None, offset: int | None = None, at: int | None = None
) -> bytes:
    entry = Entry()
    body = local_header(entry) + entry.packed()
    directory = central_header(entry, 0)
    return (
        body
        + directory
        + zip64_end(
            entries=entries,
            size=len(directory) if size is None else size,
            offset=len(body) if offset is None else offset,
            at=len(body) + len(directory) if at is None else at,
        )
    )


def _zip64_sizes(inflated: int, compressed: int) -> bytes:
    extra = struct.pack("<2H2Q", 1, 16, inflated, compressed)
    claims: dict[str, int | bytes] = {
        "inflated": 0xFFFFFFFF,
        "compressed": 0xFFFFFFFF,
        "extra": extra,
    }
    return raw_zip([Entry(local=dict(claims), central=dict(claims))])


def _lies(**claims: int) -> Build:
    both: dict[str, int | bytes] = dict(claims)
    return lambda: raw_zip([Entry(method=DEFLATED, local=dict(both), central=dict(both))])


def _contradicts(**claims: int | bytes) -> Build:
    return lambda: raw_zip([Entry(method=DEFLATED, local=dict(claims))])


def _method(method: int) -> Build:
    return lambda: raw_zip([Entry(method=method)])


def _flags(flags: int) -> Build:
    return lambda: raw_zip([Entry(flags=flags)])


def _kind(mode: int) -> Build:
    return lambda: raw_zip([Entry(content=b"/etc/passwd", unix_mode=mode)])


def _link_and_file_behind_it() -> bytes:
    return raw_zip(
        [
            Entry(name=b"out", content=b"/tmp", unix_mode=0o120777),
            Entry(name=b"out/pwned.dcm"),
        ]
    )


def _two_directories() -> bytes:
    """A comment that is a directory of its own: readers disagree on which one counts."""
    hidden = raw_zip([Entry(name=b"../../hidden")])
    return raw_zip([Entry()], comment=hidden[:60000])


def _damaged_stream(change: Callable[[bytes], bytes]) -> Build:
    content = DICOM_MARK + bytes(range(256)) * 40
    return lambda: raw_zip(
        [Entry(content=content, method=DEFLATED, data=change(deflated(content)))]
    )


def _descriptor_lies() -> bytes:
    """Sizes behind the data that contradict the directory."""
    entry = Entry(method=DEFLATED, flags=8, local={"crc": 0, "compressed": 0, "inflated": 0})
    descriptor = struct.pack("<4s3I", b"PK\x07\x08", 1, 2, 1 << 31)
    entry.central = {"inflated": 1 << 30}
    entry.data = deflated(entry.content) + descriptor
    entry.central["compressed"] = len(deflated(entry.content))
    return raw_zip([entry])


def _directory_with_content() -> bytes:
    return raw_zip([Entry(name=b"folder/", content=b"x" * 1000, unix_mode=0o040755)])


ZIP_ATTACKS: Final = (
    ZipAttack("nothing at all", lambda: b"", NOT_A_ZIP),
    ZipAttack("a text", lambda: b"GET / HTTP/1.1\r\n\r\n" * 100, NOT_A_ZIP),
    ZipAttack("only the end of a directory, cut", lambda: b"PK\x05\x06\x00\x00", NOT_A_ZIP),
    ZipAttack("cut in the middle", lambda: raw_zip([Entry()])[:150], NOT_A_ZIP),
    ZipAttack("cut in the directory", lambda: raw_zip([Entry()])[:-30], NOT_A_ZIP),
    ZipAttack("program in front (self-extracting)", lambda: raw_zip([Entry()], before=b"MZ" * 500), NOT_A_ZIP),
    ZipAttack("gzip of zeros", lambda: b"\x1f\x8b\x08\x00" + deflated(bytes(50 * MIB)), NOT_A_ZIP),
    ZipAttack("bomb: one entry of 100 MiB zeros", _flat_bomb, UNSAFE),
    ZipAttack("bomb: 100 entries of 1 MiB zeros", _many_bombs, UNSAFE),
    ZipAttack("bomb: zeros behind noise", _bomb_behind_noise, UNSAFE),
    ZipAttack("overlap: 200 records on one entry", _one_header_many_records, UNSAFE),
    ZipAttack("overlap: local headers quoted as data", _quoted_overlap, UNSAFE),
    ZipAttack("overlap: an entry reaches into the next", _reaches_into_next, UNSAFE),
    ZipAttack("overlap: an entry reaches into the directory", _reaches_into_directory, UNSAFE),
    ZipAttack("traversal: ../", _named(b"../../../tmp/pwned.dcm"), UNSAFE),
    ZipAttack("traversal: a/../../b", _named(b"a/../../b.dcm"), UNSAFE),
    ZipAttack("traversal: ..", _named(b".."), UNSAFE),
    ZipAttack("traversal: backslashes", _named(b"..\\..\\pwned.dcm"), UNSAFE),
    ZipAttack("absolute name", _named(b"/etc/cron.d/pwned"), UNSAFE),
    ZipAttack("name with a drive", _named(b"C:/Windows/pwned.dcm"), UNSAFE),
    ZipAttack("UNC name", _named(b"//server/share/pwned.dcm"), UNSAFE),
    ZipAttack("name with a NUL", _named(b"a.dcm\x00.exe"), UNSAFE),
    ZipAttack("empty name", _named(b""), UNSAFE),
    ZipAttack("entry name of 60,000 bytes", _named(b"a" * 60_000), TOO_LARGE),
    ZipAttack("1,000 folders deep", _named(b"a/" * 1000 + b"b"), TOO_LARGE),
    ZipAttack(
        "entry name that is no UTF-8",
        lambda: raw_zip([Entry(name=b"\xff\xfe\xfa.dcm", flags=0x800)]),
        NOT_A_ZIP,
    ),
    ZipAttack("symbolic link", _kind(0o120777), UNSAFE),
    ZipAttack("link to a folder and a file behind it", _link_and_file_behind_it, UNSAFE),
    ZipAttack("named pipe", _kind(0o010644), UNSAFE),
    ZipAttack("character device", _kind(0o020644), UNSAFE),
    ZipAttack("block device", _kind(0o060644), UNSAFE),
    ZipAttack("socket", _kind(0o140644), UNSAFE),
    ZipAttack("encrypted (ZipCrypto)", _flags(0x0001), UNSAFE),
    ZipAttack("encrypted (strong)", _flags(0x0041), UNSAFE),
    ZipAttack("directory masked", _flags(0x2000), UNSAFE),
    ZipAttack("patch data", _flags(0x0020), UNSAFE),
    ZipAttack("method LZMA", _method(14), UNSAFE),
    ZipAttack("method bzip2", _method(12), UNSAFE),
    ZipAttack("method deflate64", _method(9), UNSAFE),
    ZipAttack("method implode", _method(6), UNSAFE),
    ZipAttack("method AE-x (AES)", _method(99), UNSAFE),
    ZipAttack("method zstd", _method(93), UNSAFE),
    ZipAttack("method unknown", _method(0xFFFF), UNSAFE),
    ZipAttack("nested zip", _inner(_honest({"a": b"b"})), UNSAFE),
    ZipAttack("nested 7z", _inner(b"7z\xbc\xaf\x27\x1c" + bytes(50)), UNSAFE),
    ZipAttack("nested rar", _inner(b"Rar!\x1a\x07\x01" + bytes(50)), UNSAFE),
    ZipAttack("nested gzip", _inner(b"\x1f\x8b\x08" + bytes(50)), UNSAFE),
    ZipAttack("nested bzip2", _inner(b"BZh9" + bytes(50)), UNSAFE),
    ZipAttack("nested xz", _inner(b"\xfd7zXZ\x00" + bytes(50)), UNSAFE),
    ZipAttack("nested zstd", _inner(b"\x28\xb5\x2f\xfd" + bytes(50)), UNSAFE),
    ZipAttack("sizes: less claimed than there is", _lies(inflated=10), UNSAFE | NOT_A_ZIP),
    ZipAttack("sizes: 4 GB claimed in both headers", _lies(inflated=0xFFFFFFF0), UNSAFE),
    ZipAttack("sizes: nothing claimed", _lies(inflated=0), UNSAFE | NOT_A_ZIP),
    ZipAttack("sizes: packed size too small", _lies(compressed=3), NOT_A_ZIP),
    ZipAttack("sizes: zip64 claims 2^62 bytes", lambda: _zip64_sizes(1 << 62, 1 << 62), TOO_LARGE | NOT_A_ZIP),
    ZipAttack("sizes: descriptor behind the data lies", _descriptor_lies, UNSAFE | NOT_A_ZIP),
    ZipAttack("checksum is a lie", _lies(crc=1), NOT_A_ZIP),
    ZipAttack("two headers: names differ", _contradicts(name=b"2.dcm"), UNSAFE),
    ZipAttack("two headers: methods differ", _contradicts(method=STORED), UNSAFE),
    ZipAttack("two headers: sizes differ", _contradicts(inflated=5), UNSAFE),
    ZipAttack("two headers: checksums differ", _contradicts(crc=5), UNSAFE),
    ZipAttack("two headers: only one encrypted", _contradicts(flags=1), UNSAFE),
    ZipAttack("local header missing", _contradicts(signature=b"\x00\x00\x00\x00"), NOT_A_ZIP),
    ZipAttack("directory damaged", lambda: raw_zip([Entry(central={"signature": b"XXXX"})]), NOT_A_ZIP),
    ZipAttack("entry beyond the end of the file", lambda: raw_zip([Entry(central={"offset": 0x7FFFFFFF})]), NOT_A_ZIP | UNSAFE),
    ZipAttack("65,000 entries", lambda: _entries(65_000), TOO_LARGE),
    ZipAttack("65,535 entries, none claimed", lambda: _entries(65_535, claimed=0), TOO_LARGE),
    ZipAttack("70,000 entries, 5 claimed", lambda: _entries(70_000, claimed=5), TOO_LARGE),
    ZipAttack("directory of 4 GB claimed", lambda: raw_zip([Entry()], end={"size": 0xFFFFFFF0}), TOO_LARGE | NOT_A_ZIP),
    ZipAttack("directory begins beyond the end", lambda: raw_zip([Entry()], end={"offset": 0xFFFFFF0}), NOT_A_ZIP),
    ZipAttack("zip64: 2^60 entries claimed", lambda: _zip64(entries=1 << 60), TOO_LARGE),
    ZipAttack("zip64: directory of 2^60 bytes claimed", lambda: _zip64(size=1 << 60), TOO_LARGE),
    ZipAttack("zip64: directory at 2^62", lambda: _zip64(offset=1 << 62), NOT_A_ZIP),
    ZipAttack("zip64: record at 2^63", lambda: _zip64(at=1 << 63), NOT_A_ZIP | TOO_LARGE),
    ZipAttack("several disks", lambda: raw_zip([Entry(central={"disk": 7})], end={"disk": 7}), UNSAFE | NOT_A_ZIP),
    ZipAttack("a second archive in the comment", _two_directories, UNSAFE | NOT_A_ZIP),
    ZipAttack("stream cut", _damaged_stream(lambda data: data[: len(data) // 2]), NOT_A_ZIP),
    ZipAttack("stream with an impossible block", _damaged_stream(lambda _: b"\x07" * 30), NOT_A_ZIP),
    ZipAttack("stream with distances before its start", _damaged_stream(lambda _: b"\x63\x00\x92\x08"), NOT_A_ZIP),
    ZipAttack("extra field longer than it is", lambda: raw_zip([Entry(central={"extra": b"\x01\x00\xff\xff"})]), NOT_A_ZIP | NO_DICOM | UNSAFE),
    ZipAttack("folder with content", _directory_with_content, NO_DICOM | UNSAFE),
    ZipAttack("only clutter", lambda: _honest({"__MACOSX/._1.dcm": DICOM_MARK, ".DS_Store": b"x"}), NO_DICOM),
    ZipAttack("no file at all", lambda: raw_zip([]), NO_DICOM),
    ZipAttack("4,000 empty files", lambda: _entries(4_000), NO_DICOM),
    ZipAttack("twice the same name", lambda: raw_zip([Entry(content=b"a"), Entry(content=b"b")]), NO_DICOM),
    ZipAttack("page of HTML named .dcm", lambda: _honest({"1.dcm": b"<script>alert(1)</script>"}), NO_DICOM),
)  # fmt: skip
