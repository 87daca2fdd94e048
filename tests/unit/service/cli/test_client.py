"""What the errors of the client library mean for a command: its words and exit code."""

from __future__ import annotations

import pytest

from cacscore_client import errors
from service.cli.client import service_client
from service.cli.outcome import CommandFailed, Refused, UsageMistake


def problem(kind: type[errors.ServiceProblem], status: int, code: str) -> errors.ServiceProblem:
    return kind(
        status=status, code=code, title="Title", detail="What was found.", evidence={"found": 3}
    )


def test_problem_about_what_was_sent_is_a_refusal_with_its_code() -> None:
    with pytest.raises(Refused) as refusal, service_client("http://service"):
        raise problem(errors.Refused, 422, "not_a_zip")

    assert refusal.value.problem.code == "not_a_zip"
    assert refusal.value.problem.evidence == {"found": 3}


@pytest.mark.parametrize("code", ["too_many_attempts", "scoring_timed_out"])
def test_study_that_the_service_gave_up_is_a_failure_and_no_refusal(code: str) -> None:
    with (
        pytest.raises(CommandFailed, match=rf"What was found.*{code}"),
        service_client("http://service"),
    ):
        raise problem(errors.StudyGivenUp, 422, code)


@pytest.mark.parametrize(
    "error",
    [
        problem(errors.ServiceFailed, 500, "internal_error"),
        problem(errors.NotFound, 404, "study_not_found"),
        problem(errors.Busy, 503, "storage_full"),
        problem(errors.NotAuthenticated, 401, "not_authenticated"),
        errors.Unreachable("No answer"),
        errors.UnexpectedAnswer("a proxy's page"),
        errors.WaitTimedOut("abc", 5.0, "http://service/studies/abc"),
    ],
)
def test_anything_else_is_a_failure_and_no_refusal(error: errors.ClientError) -> None:
    with pytest.raises(CommandFailed), service_client("http://service"):
        raise error


@pytest.mark.parametrize("error", [errors.NothingToSend("The folder x holds no files.")])
def test_what_the_command_line_cannot_mean_is_a_mistake_of_usage(error: errors.ClientError) -> None:
    with pytest.raises(UsageMistake, match="no files"), service_client("http://service"):
        raise error


def test_text_that_is_no_url_is_a_mistake_of_usage() -> None:
    with pytest.raises(UsageMistake, match="not a URL"), service_client("http://host:port"):
        pass
