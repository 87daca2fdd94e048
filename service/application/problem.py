"""A problem as plain data: what the record keeps and what HTTP and `--json` show (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from calcium_scoring.errors import CacscoreError, Evidence

PROBLEM_TYPE_PREFIX: Final = "urn:cacscore:problem:"
"""``type`` of a problem is this prefix and its ``code``: stable, and no page has to exist."""


@dataclass(frozen=True)
class Problem:
    """Why something was refused or failed, in the words that a user sees."""

    code: str
    title: str
    detail: str
    evidence: Evidence = field(default_factory=dict)

    @classmethod
    def of(cls, error: CacscoreError) -> Problem:
        """Return the problem that an error of the tree stands for."""
        return cls(error.code, error.title, error.message, error.evidence)

    @property
    def type(self) -> str:
        """URI that identifies the kind of problem."""
        return f"{PROBLEM_TYPE_PREFIX}{self.code}"

    def to_document(self) -> dict[str, Any]:
        """Return the JSON object: type, title, detail, code, evidence."""
        return {
            "type": self.type,
            "title": self.title,
            "detail": self.detail,
            "code": self.code,
            "evidence": dict(self.evidence),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Problem:
        """Read what :meth:`to_document` wrote."""
        return cls(
            document["code"], document["title"], document["detail"], dict(document["evidence"])
        )
