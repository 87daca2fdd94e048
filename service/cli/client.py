"""The client library as the commands use it: its errors become words and exit codes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cacscore_client import CacscoreClient
from cacscore_client.connection import is_this_machine
from cacscore_client.errors import (
    ClientError,
    InvalidUrl,
    NothingToSend,
    Refused,
    ServiceProblem,
    StudyGivenUp,
)
from service.application.problem import Problem
from service.cli import outcome


@contextmanager
def service_client(url: str, *, api_key: str | None = None) -> Iterator[CacscoreClient]:
    """Give a client whose errors end the command.

    Raises outcome.Refused for a problem about what was sent, UsageMistake for what the command
    line cannot mean, and CommandFailed where the service cannot be reached, is too busy, gave the
    study up, or answers with something else.
    """
    try:
        with CacscoreClient(url, api_key=api_key) as client:
            yield client
    except ClientError as error:
        raise _ending(error, url.rstrip("/")) from error


def is_loopback(host: str) -> bool:
    """Tell whether an address to listen on is one that only this machine reaches."""
    return is_this_machine(host) and host not in {"0.0.0.0", "::", ""}  # noqa: S104 - compared


def _ending(error: ClientError, url: str) -> Exception:
    if isinstance(error, (InvalidUrl, NothingToSend)):
        return outcome.UsageMistake(str(error))
    if isinstance(error, (Refused, StudyGivenUp)):
        problem = Problem(error.code, error.title, error.detail, dict(error.evidence))
        return outcome.failed_study(problem)
    if isinstance(error, ServiceProblem):
        return outcome.CommandFailed(f"{url} answered {error.status}: {error.detail}")
    return outcome.CommandFailed(str(error))
