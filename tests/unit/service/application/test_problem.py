"""Problems survive the record."""

from __future__ import annotations

import json

from calcium_scoring.errors import IrregularGeometry
from service.application.problem import Problem


def test_problem_survives_its_document() -> None:
    problem = Problem.of(IrregularGeometry((3.0, 3.0, 6.0), 0.1))
    document = json.loads(json.dumps(problem.to_document()))
    assert Problem.from_document(document) == problem
    assert document["type"] == "urn:cacscore:problem:irregular_geometry"
    assert document["evidence"]["largest_gap_mm"] == 6.0
