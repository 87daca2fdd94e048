"""Whatever is sent, the reading path ends in a score or a typed refusal: `make hostile`.

The child that reads is watched: it must not crash, hang, take a GiB of memory with its decoder, or
leave a file behind.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.hostile.dicom_attacks import DICOM_ATTACKS, DicomAttack, sound_slices
from tests.hostile.mutations import COMPRESSED, kind_of, mutated_file
from tests.hostile.reading import Reader, Verdict
from tests.hostile.zip_attacks import ZIP_ATTACKS, ZipAttack

LARGEST_PEAK_BYTES = 1024**3

pytestmark = pytest.mark.timeout(6 * 3600)


def assert_harmless(verdict: Verdict, what: str) -> None:
    assert not verdict.is_crash, (what, verdict)
    assert verdict.peak_bytes < LARGEST_PEAK_BYTES, (what, verdict)
    assert verdict.left_behind == (), (what, verdict)


def test_there_are_at_least_eighty_hand_made_attacks() -> None:
    names = [one.name for one in (*ZIP_ATTACKS, *DICOM_ATTACKS)]
    assert len(set(names)) == len(names) >= 80


@pytest.mark.parametrize("attack", ZIP_ATTACKS, ids=lambda attack: attack.name)
def test_hostile_archive_is_refused(attack: ZipAttack, reader: Reader, tmp_path: Path) -> None:
    upload = tmp_path / "upload.zip"
    upload.write_bytes(attack.build())

    verdict = reader.judge(upload)

    assert_harmless(verdict, attack.name)
    assert verdict.outcome in attack.codes


@pytest.mark.parametrize("attack", DICOM_ATTACKS, ids=lambda attack: attack.name)
def test_hostile_series_is_refused_or_harmless(
    attack: DicomAttack, reader: Reader, tmp_path: Path
) -> None:
    for name, content in attack.build().items():
        (tmp_path / name).write_bytes(content)

    verdict = reader.judge(tmp_path)

    assert_harmless(verdict, attack.name)
    assert verdict.outcome in attack.outcomes


def test_mutated_files_are_refused_or_read(
    reader: Reader, tmp_path: Path, mutated_file_count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    series = tmp_path / "series"
    series.mkdir()
    sound = dict(enumerate(sound_slices(), start=1))
    for number, content in sound.items():
        (series / f"{number:06d}.dcm").write_bytes(content)
    table: Counter[tuple[str, str]] = Counter()
    largest = Verdict("", 0, 0.0, ())
    for number in range(mutated_file_count):
        kind, content = kind_of(number), mutated_file(number)
        if kind in {"zip", "enhanced", *COMPRESSED}:
            upload = tmp_path / f"upload.{'zip' if kind == 'zip' else 'dcm'}"
            upload.write_bytes(content)
            verdict = reader.judge(upload, "slice" if kind in COMPRESSED else "read")
        else:
            (series / "000005.dcm").write_bytes(content)
            verdict = reader.judge(series, "score" if number % 100 == 0 else "read")
        assert_harmless(verdict, f"mutated file {number} ({kind})")
        table[kind, verdict.outcome] += 1
        largest = max(largest, verdict, key=lambda one: one.peak_bytes)
    lines = [f"{mutated_file_count} mutated files; peak {largest.peak_bytes / 2**20:.0f} MiB"]
    lines += [f"  {kind:10} {code:24} {count:6}" for (kind, code), count in sorted(table.items())]
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines) + "\n")
    assert sum(table.values()) == mutated_file_count
