"""Which media type is wanted most."""

from __future__ import annotations

import pytest

from service.api.negotiation import preferred_type

AVAILABLE = ("application/dicom", "application/gzip")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", "application/dicom"),
        ("application/*", "application/dicom"),
        ("application/gzip", "application/gzip"),
        ("APPLICATION/GZIP", "application/gzip"),
        ("application/dicom;q=0.5, application/gzip", "application/gzip"),
        ("application/dicom;q=0.5, application/gzip;q=0.5", "application/dicom"),
        ("text/html, */*;q=0.1", "application/dicom"),
        ("application/dicom;q=0, */*", "application/gzip"),
        ("application/dicom; transfer-syntax=*", "application/dicom"),
        ("text/html", None),
        ("application/gzip;q=0", None),
        ("application/gzip;q=nonsense", None),
        ("", None),
    ],
)
def test_best_accepted_type_is_chosen(accept: str, expected: str | None) -> None:
    assert preferred_type(accept, AVAILABLE) == expected
