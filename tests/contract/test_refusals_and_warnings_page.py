"""docs/refusals-and-warnings.md says what the code does: every code, no other, the same limits."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from calcium_scoring.dicom import read_series, select_series, slice_geometry
from calcium_scoring.errors import CacscoreError, SeriesRejected, UploadRejected
from calcium_scoring.model_input.segmentation import HEART_NOT_FOUND
from calcium_scoring.suitability import blood_pool, coverage, image_noise, metal

CODE = re.compile(r"^\| `(\w+)` \|")


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "refusals-and-warnings.md").read_text(encoding="utf-8")


def rows(page: str, heading: str) -> dict[str, str]:
    """Return the rows of the table under a heading, by their code."""
    section = page.split(f"## {heading}\n")[1].split("\n## ", maxsplit=1)[0]
    found = [(CODE.match(line), line) for line in section.splitlines()]
    return {match[1]: line for match, line in found if match}


def branches(error: type[CacscoreError]) -> Iterator[type[CacscoreError]]:
    yield error
    for branch in error.__subclasses__():
        yield from branches(branch)


@pytest.mark.parametrize(
    ("heading", "root"),
    [("Refusals of an upload", UploadRejected), ("Refusals of a series", SeriesRejected)],
)
def test_every_refusal_is_on_the_page_and_no_other(
    page: str, heading: str, root: type[CacscoreError]
) -> None:
    of_the_library = [one for one in branches(root) if one.__module__.startswith("calcium_scoring")]

    assert set(rows(page, heading)) == {one.code for one in of_the_library}


def warning_codes(source: Path) -> Iterator[str]:
    """Return the codes of the warnings that a module gives."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id == "SeriesWarning":
            code = node.args[0]
            yield HEART_NOT_FOUND if isinstance(code, ast.Name) else ast.literal_eval(code)


def test_every_warning_is_on_the_page_and_in_the_glossary_and_no_other(
    page: str, repository: Path
) -> None:
    given = {
        code
        for package in ("calcium_scoring", "service")
        for source in (repository / package).rglob("*.py")
        for code in warning_codes(source)
    }
    glossary = (repository / "docs" / "glossary.md").read_text(encoding="utf-8")

    assert set(rows(page, "Warnings")) == given
    assert set(rows(glossary, "Codes of warnings")) == given


LIMITS = {
    "too_few_slices": f"{select_series.MIN_SLICE_COUNT} positions",
    "irregular_geometry": f"{slice_geometry.GAP_TOLERANCE_MM:g} mm",
    "duplicate_positions": f"{slice_geometry.SAME_POSITION_MM:g} mm",
    "invalid_geometry": f"{slice_geometry.LATERAL_TOLERANCE_MM:g} mm to the side",
    "contrast_enhanced": f"{blood_pool.LARGEST_PLAIN_BLOOD_HU:g} HU",
    "heart_not_covered": f"{coverage.SHORTEST_COVERED_HEART_MM:g} mm",
    "gantry_tilt": f"{select_series.TILT_TOLERANCE_DEGREES:g} degrees",
    "not_axial": f"{select_series.AXIAL_TOLERANCE_DEGREES:g} degrees",
    "rotated_in_plane": f"{select_series.IN_PLANE_TOLERANCE_DEGREES:g} degrees",
    "blank_slices": f"{read_series.BLANK_HU:g} HU",
    "kvp_not_120": f"{read_series.STANDARD_KVP:g} kV",
    "thick_slices": f"{read_series.THICK_SLICE_MM:g} mm",
    "overlapping_slices": f"{read_series.OVERLAP_TOLERANCE:g} of the thickness",
    "anisotropic_pixels": f"{read_series.PIXEL_ANISOTROPY_TOLERANCE_MM:g} mm",
    "field_of_view_near_heart": f"{coverage.FIELD_OF_VIEW_MARGIN_MM:g} mm",
    "high_noise": f"{image_noise.LARGEST_NOISE_SD_HU:g} HU",
    "metal_near_heart": f"{metal.METAL_HU:g} HU lies within {metal.NEAR_HEART_MM:g} mm",
}


@pytest.mark.parametrize("code", LIMITS)
def test_limits_on_the_page_are_those_of_the_code(page: str, code: str) -> None:
    tables = {**rows(page, "Refusals of a series"), **rows(page, "Warnings")}

    assert LIMITS[code] in tables[code]
