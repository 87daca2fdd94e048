"""What a decoder does to its own process must not reach ours."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless

from calcium_scoring.dicom.decoder_process import DecoderProcess, DecodingFailed, decoder_process
from calcium_scoring.dicom.read_series import read_ct_series
from calcium_scoring.dicom.write_series import write_ct_series
from calcium_scoring.errors import DecoderUnavailable
from tests.series_builders import edit, noise_volume


def test_one_process_decodes_all_slices_of_a_series(tmp_path: Path) -> None:
    volume = noise_volume(3)
    paths = write_ct_series(volume, tmp_path, seed=1, transfer_syntax_uid=JPEG2000Lossless)

    with decoder_process() as decoder:
        stored = [decoder.decode(path, (64, 64)) for path in paths]

    assert np.array_equal(np.stack(stored) - 1024, volume.hu)


def test_a_stream_that_aborts_the_decoder_is_refused_and_the_next_slice_is_read(
    tmp_path: Path,
) -> None:
    """A sample precision of 255 bits makes GDCM end its process."""
    volume = noise_volume(2)
    bad, good = write_ct_series(volume, tmp_path, seed=1, transfer_syntax_uid=JPEGLSLossless)

    def spoil(instance: Dataset, _: int) -> None:
        frame = bytearray(get_frame(instance.PixelData, 0, number_of_frames=1))
        frame[6] = 255
        instance.PixelData = encapsulate([bytes(frame)])

    edit([bad], spoil)

    with decoder_process() as decoder:
        with pytest.raises(DecodingFailed):
            decoder.decode(bad, (64, 64))
        assert np.array_equal(decoder.decode(good, (64, 64)) - 1024, volume.hu[1])


def test_a_decoder_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    (path,) = write_ct_series(
        noise_volume(1), tmp_path, seed=1, transfer_syntax_uid=JPEG2000Lossless
    )
    decoder = DecoderProcess(seconds_per_slice=0.0)

    with pytest.raises(DecodingFailed):
        decoder.decode(path, (64, 64))

    decoder.close()


def test_a_slice_of_another_shape_is_refused(tmp_path: Path) -> None:
    (path,) = write_ct_series(
        noise_volume(1), tmp_path, seed=1, transfer_syntax_uid=JPEG2000Lossless
    )

    with decoder_process() as decoder, pytest.raises(DecodingFailed):
        decoder.decode(path, (32, 64))


def test_a_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    with decoder_process() as decoder, pytest.raises(DecodingFailed, match="refused"):
        decoder.decode(tmp_path / "gone.dcm", (64, 64))


def test_a_module_in_the_current_folder_is_not_imported_by_the_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People run cacscore where their files lie, and a file there may be called json.py."""
    paths = write_ct_series(
        noise_volume(1), tmp_path / "series", seed=1, transfer_syntax_uid=JPEG2000Lossless
    )
    trap = tmp_path / "imported"
    for name in ("json.py", "numpy.py", "sitecustomize.py"):
        (tmp_path / name).write_text(f"open({str(trap)!r}, 'w').close()\nraise SystemExit(1)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", ".", *sys.path])

    with decoder_process() as decoder:
        stored = decoder.decode(paths[0], (64, 64))

    assert np.array_equal(stored - 1024, noise_volume(1).hu[0])
    assert not trap.exists()


def test_relative_paths_are_those_of_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = write_ct_series(
        noise_volume(1), tmp_path, seed=1, transfer_syntax_uid=JPEG2000Lossless
    )
    monkeypatch.chdir(tmp_path)

    with decoder_process() as decoder:
        assert decoder.decode(Path(path.name), (64, 64)).shape == (64, 64)


@pytest.mark.parametrize("program", ["gone", "false"])
def test_a_decoder_that_does_not_start_is_a_fault_of_the_installation_not_of_the_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    write_ct_series(noise_volume(), tmp_path, seed=1, transfer_syntax_uid=JPEG2000Lossless)
    monkeypatch.setattr(sys, "executable", shutil.which(program) or str(tmp_path / program))

    with pytest.raises(DecoderUnavailable, match="did not start"):
        read_ct_series(tmp_path, tmp_path)


def test_a_decoder_that_is_not_installed_is_named_and_the_series_is_not_blamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_ct_series(
        noise_volume(1), tmp_path / "series", seed=1, transfer_syntax_uid=JPEGLSLossless
    )
    without = tmp_path / "without"
    without.mkdir()
    (without / "gdcm.py").write_text("raise ImportError('gdcm is not installed')\n")
    monkeypatch.setattr(sys, "path", [str(without), *sys.path])

    with decoder_process() as decoder, pytest.raises(DecoderUnavailable, match="decoder gdcm"):
        decoder.decode(paths[0], (64, 64))
