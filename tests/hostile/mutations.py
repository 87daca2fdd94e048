"""Files of DICOM and zip that were damaged by chance, the same ones for the same seed."""

from __future__ import annotations

import random
import struct
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from calcium_scoring.dicom.write_series import write_ct_series, zip_files
from tests.series_builders import noise_volume, write_enhanced, write_series

HEADER_BYTES: Final = 2048
"""Most damage is done here: pixels that changed are pixels all the same."""

SHARES: Final = {
    "explicit": 9,
    "implicit": 4,
    "deflated": 1,
    "enhanced": 1,
    "rle": 1,
    "jpeg_ls": 1,
    "jpeg_2000": 1,
    "zip": 2,
}
"""Of 20 mutated files so many are of this kind."""

COMPRESSED: Final = frozenset({"rle", "jpeg_ls", "jpeg_2000"})

_INTERESTING: Final = (0, 1, 0x7F, 0x80, 0xFF, 0x5C, 0x2F, 0x2E)
_INTERESTING_WORDS: Final = (0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

Damage = Callable[[bytearray, int, random.Random], None]


@cache
def sound_file(kind: str) -> bytes:
    """Return the file that is damaged: the fifth of nine slices, or all of them."""
    syntaxes = {
        "explicit": None,
        "implicit": ImplicitVRLittleEndian,
        "rle": RLELossless,
        "jpeg_ls": JPEGLSLossless,
        "jpeg_2000": JPEG2000Lossless,
    }
    volume = noise_volume()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if kind in syntaxes and syntaxes[kind] is not None:
            paths = write_ct_series(
                volume, folder, seed=1, transfer_syntax_uid=syntaxes[kind] or ""
            )
        else:
            paths = write_series(folder / "slices", volume)
        if kind == "zip":
            return zip_files(paths, folder / "a.zip").read_bytes()
        if kind == "enhanced":
            return write_enhanced(folder / "enhanced.dcm", paths).read_bytes()
        if kind == "deflated":
            instance = dcmread(paths[4])
            instance.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
            instance.save_as(paths[4])
        return paths[4].read_bytes()


def kind_of(number: int) -> str:
    """Return the kind of the mutated file of this number."""
    at = number % sum(SHARES.values())
    for kind, share in SHARES.items():
        if at < share:
            return kind
        at -= share
    raise AssertionError(number)


def mutated_file(number: int) -> bytes:
    """Return the mutated file of this number: one to eight damages to a sound one."""
    chance = random.Random(number)  # noqa: S311 - the same files every time, no secret
    content = bytearray(sound_file(kind_of(number)))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        if not content:
            break
        reach = len(content) if chance.random() < 0.25 else min(len(content), HEADER_BYTES)
        damage: Damage = chance.choice(_DAMAGES)
        damage(content, chance.randrange(reach), chance)
    return bytes(content)


def _flip(content: bytearray, at: int, chance: random.Random) -> None:
    content[at] ^= 1 << chance.randrange(8)


def _overwrite(content: bytearray, at: int, chance: random.Random) -> None:
    content[at] = chance.choice(_INTERESTING)


def _overwrite_word(content: bytearray, at: int, chance: random.Random) -> None:
    word = chance.choice(_INTERESTING_WORDS)
    raw = struct.pack("<I", word)[: chance.choice((2, 4))]
    content[at : at + len(raw)] = raw


def _noise(content: bytearray, at: int, chance: random.Random) -> None:
    raw = chance.randbytes(chance.randrange(1, 64))
    content[at : at + len(raw)] = raw


def _insert(content: bytearray, at: int, chance: random.Random) -> None:
    content[at:at] = chance.randbytes(chance.randrange(1, 32))


def _remove(content: bytearray, at: int, chance: random.Random) -> None:
    del content[at : at + chance.randrange(1, 64)]


def _repeat(content: bytearray, at: int, chance: random.Random) -> None:
    piece = content[at : at + chance.randrange(1, 256)]
    content[at:at] = piece * chance.randrange(1, 16)


def _move(content: bytearray, at: int, chance: random.Random) -> None:
    piece = content[at : at + chance.randrange(1, 64)]
    to = chance.randrange(len(content))
    content[to : to + len(piece)] = piece


def _cut(content: bytearray, at: int, _chance: random.Random) -> None:
    del content[at:]


_DAMAGES: Final[tuple[Damage, ...]] = (
    *(_flip, _flip, _overwrite, _overwrite, _overwrite_word, _overwrite_word, _overwrite_word),
    *(_noise, _insert, _remove, _repeat, _move, _cut),
)
