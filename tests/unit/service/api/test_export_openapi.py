"""`make openapi` writes the file that `make openapi-check` compares."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.api import export_openapi


def export(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["export_openapi", *arguments])
    return export_openapi.main()


def test_written_document_passes_the_check_and_a_changed_one_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "openapi" / "openapi.json"
    assert export(monkeypatch, "--check", str(file)) == 1

    assert export(monkeypatch, str(file)) == 0
    assert export(monkeypatch, "--check", str(file)) == 0

    file.write_text(file.read_text().replace("Agatston", "Agaston"))
    assert export(monkeypatch, "--check", str(file)) == 1
    assert "make openapi" in capsys.readouterr().err
