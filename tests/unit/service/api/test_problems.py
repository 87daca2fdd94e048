"""From errors to HTTP statuses."""

from __future__ import annotations

import pytest

from calcium_scoring.errors import (
    CacscoreError,
    IrregularGeometry,
    NoDicomFound,
    NotAZip,
    UploadTooLarge,
)
from service.api.problems import status_of
from service.application.errors import (
    LeaseLost,
    QueueUnavailable,
    ScoringTimedOut,
    StorageFull,
    StudyNotFound,
)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotAZip("-"), 422),
        (NoDicomFound("-"), 422),
        (UploadTooLarge("-"), 413),
        (IrregularGeometry((1.0, 2.0, 1.0), 0.1), 422),
        (ScoringTimedOut(840.0), 422),
        (StudyNotFound("a"), 404),
        (QueueUnavailable("-"), 503),
        (StorageFull("-"), 503),
        (LeaseLost("a", 1), 500),
    ],
)
def test_nearest_class_decides_the_status(error: CacscoreError, status: int) -> None:
    assert status_of(error) == status


def every_error(kind: type[CacscoreError] = CacscoreError) -> list[type[CacscoreError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in every_error(child))]


def test_every_error_has_a_code_and_title_of_its_own() -> None:
    errors = {kind for kind in every_error() if kind.__module__.startswith(("calcium", "service"))}
    codes = [kind.code for kind in errors]
    assert sorted(codes) == sorted(set(codes))
    assert all(kind.title for kind in errors)
