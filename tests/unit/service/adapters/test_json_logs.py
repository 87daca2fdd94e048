"""Logs are JSON and quote nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from service.adapters.logs.json_logs import configure_logging


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_event_is_one_json_object_with_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO")
    structlog.get_logger("a.b").info("attempt_begun", job_id="j", attempt=1)
    (line,) = lines(capsys)
    assert (line["event"], line["job_id"], line["attempt"]) == ("attempt_begun", "j", 1)
    assert (line["level"], line["logger"]) == ("info", "a.b")
    assert str(line["time"]).endswith("Z")


@pytest.mark.parametrize("logger", [logging.getLogger("celery"), structlog.get_logger("own")])
def test_exception_is_named_without_its_text(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("INFO")
    try:
        int("Doe^Jane 1.2.840.1")
    except ValueError:
        logger.exception("failed")
    output = capsys.readouterr().err
    assert "Doe" not in output
    assert "1.2.840.1" not in output
    line = json.loads(output)
    assert line["exception"] == "ValueError"
    assert line["traceback"][0].startswith("test_json_logs.py:")


def test_dicom_libraries_do_not_log(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("DEBUG")
    logging.getLogger("pydicom").warning("Invalid value for VR UI: 'Doe^Jane'")
    logging.getLogger("highdicom.seg").error("Doe^Jane")
    assert lines(capsys) == []
