"""Long compressed series: several decoders, the same values, and the first refusal ends it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import JPEGLSLossless, RLELossless

from calcium_scoring.dicom import decoder_process, read_series
from calcium_scoring.dicom.read_series import read_ct_series
from calcium_scoring.dicom.write_series import write_ct_series
from calcium_scoring.errors import UnreadablePixels
from tests.series_builders import edit, noise_volume


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Two decoders from four slices on; the process ids of those that started."""
    monkeypatch.setattr(read_series, "SLICES_A_DECODER", 2)
    monkeypatch.setattr(read_series, "READING_THREADS", 2)
    pids: list[int] = []
    start = decoder_process._start

    def counted() -> subprocess.Popen[bytes]:
        child = start()
        pids.append(child.pid)
        return child

    monkeypatch.setattr(decoder_process, "_start", counted)
    return pids


@pytest.mark.parametrize("syntax", [JPEGLSLossless, RLELossless], ids=lambda uid: uid.name)
def test_two_decoders_give_every_slice_its_own_values(
    tmp_path: Path, started: list[int], syntax: str
) -> None:
    volume = noise_volume(11)
    write_ct_series(volume, tmp_path / "series", seed=1, transfer_syntax_uid=syntax)

    read = read_ct_series(tmp_path / "series", tmp_path).volume

    np.testing.assert_array_equal(read.hu, volume.hu)
    assert len(started) == 2


def test_a_short_series_starts_one_decoder(
    tmp_path: Path, started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_series, "SLICES_A_DECODER", 40)
    write_ct_series(
        noise_volume(11), tmp_path / "series", seed=1, transfer_syntax_uid=JPEGLSLossless
    )

    read_ct_series(tmp_path / "series", tmp_path)

    assert len(started) == 1


def test_a_damaged_slice_refuses_the_series_and_leaves_no_process(
    tmp_path: Path, started: list[int]
) -> None:
    paths = write_ct_series(
        noise_volume(11), tmp_path / "series", seed=1, transfer_syntax_uid=JPEGLSLossless
    )
    edit(paths[6:7], _cut)

    with pytest.raises(UnreadablePixels):
        read_ct_series(tmp_path / "series", tmp_path)

    assert all(not Path(f"/proc/{pid}").exists() for pid in started)


def _cut(instance: Dataset, _: int) -> None:
    instance.PixelData = instance.PixelData[: len(instance.PixelData) // 4 * 2]
