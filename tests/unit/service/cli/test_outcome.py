"""How a command ends: a refusal is a result, a crash never looks like one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from calcium_scoring.errors import CacscoreError, IrregularGeometry, MaskRejected, NotAZip
from service.application.errors import (
    GIVEN_UP_CODES,
    JobGivenUp,
    ModelUnavailable,
    Poison,
    ScoringTimedOut,
    StudyFailed,
    TooManyAttempts,
)
from service.application.problem import Problem
from service.cli.outcome import (
    CommandFailed,
    ExitCode,
    Refused,
    UsageMistake,
    needs_extra,
    run_guarded,
    writing,
)

A_PROBLEM = Problem(
    "gantry_tilt", "The gantry was tilted", "Tilted by 18.5 degrees.", {"deg": 18.5}
)


def ending_with(error: BaseException, *, wants_json: bool = False) -> ExitCode:
    def command() -> None:
        raise error

    return run_guarded(command, wants_json=wants_json)


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (NotAZip("Not a zip."), "not_a_zip"),
        (IrregularGeometry((3.0, 3.0, 6.0), 0.1), "irregular_geometry"),
        (MaskRejected("Other grid."), "mask_rejected"),
        (StudyFailed(A_PROBLEM), "gantry_tilt"),
        (Refused(A_PROBLEM), "gantry_tilt"),
    ],
)
def test_refusal_exits_with_3_and_prints_its_code_as_json(
    refusal: Exception, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = ending_with(refusal, wants_json=True)

    document = json.loads(capsys.readouterr().out)
    assert status == 3
    assert document["code"] == code
    assert document["type"] == f"urn:cacscore:problem:{code}"
    assert document["detail"]
    assert "Research use only" in document["intended_use"]


def test_refusal_without_json_is_said_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    status = ending_with(NotAZip("The file begins with %PDF."))

    captured = capsys.readouterr()
    assert status == 3
    assert captured.out == ""
    assert "The file begins with %PDF." in captured.err
    assert "not_a_zip" in captured.err
    assert "Research use only" in captured.err


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ZeroDivisionError("division by zero"), 1),
        (CommandFailed("No answer."), 1),
        (ModelUnavailable("No model file."), 1),
        (CacscoreError("Something else."), 1),
        (UsageMistake("The folder is empty."), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_nothing_but_a_refusal_exits_with_3_or_prints_to_stdout(
    error: BaseException, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending_with(error, wants_json=True) == status

    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "given_up", [TooManyAttempts(3, "MemoryError"), Poison(3, "SIGKILL"), ScoringTimedOut(840.0)]
)
def test_study_that_the_service_gave_up_exits_with_1_and_says_the_way_out(
    given_up: JobGivenUp, capsys: pytest.CaptureFixture[str]
) -> None:
    for error in (given_up, StudyFailed(Problem.of(given_up))):
        assert ending_with(error, wants_json=True) == 1

        captured = capsys.readouterr()
        assert captured.out == ""
        assert "retry the study" in captured.err
        assert "Refused" not in captured.err


def test_every_way_of_giving_up_has_its_code_among_the_failures() -> None:
    kinds: list[type[JobGivenUp]] = [JobGivenUp, *JobGivenUp.__subclasses__()]
    assert {kind.code for kind in kinds} == GIVEN_UP_CODES


def test_file_that_cannot_be_written_is_named_without_a_stack_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        with writing(tmp_path / "no" / "mask.dcm"):
            (tmp_path / "no" / "mask.dcm").write_bytes(b"")

    assert run_guarded(command, wants_json=False) == 1

    words = " ".join(capsys.readouterr().err.split())
    assert "mask.dcm cannot be written: No such file or directory" in words
    assert "Traceback" not in words


def test_crash_calls_itself_a_crash(capsys: pytest.CaptureFixture[str]) -> None:
    ending_with(ZeroDivisionError("division by zero"))

    words = capsys.readouterr().err
    assert "ZeroDivisionError" in words
    assert "not a finding about the series" in words


def test_missing_optional_package_is_named_with_the_extra_that_brings_it() -> None:
    expected = pytest.raises(CommandFailed, match=r"onnxruntime.*cacscore\[worker-cpu\]")
    with expected, needs_extra("worker-cpu"):
        raise ModuleNotFoundError(name="onnxruntime")


def test_missing_module_of_our_own_stays_a_crash() -> None:
    with pytest.raises(ModuleNotFoundError), needs_extra("worker-cpu"):
        raise ModuleNotFoundError(name="service.cli.nothing")
