"""What was marked by hand on a scan: the heart, the coronary arteries, the aorta.

A file of marks is JSON; ``docs/how-to/add-a-real-background.md`` describes its fields. All
positions are LPS mm, so that they hold for the whole series and for any part of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from calcium_scoring.phantom.coronaries import STEP_MM, CoronaryBranch, CoronaryTree
from calcium_scoring.phantom.shapes import Tube, Vectors, smooth_tube
from calcium_scoring.phantom.structures import Structure
from calcium_scoring.volume.label_map import Artery

SHIPPED_MARKS: Final = Path(__file__).parent / "marks"
"""Marks of the scans that the project uses itself."""

_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_GROOVE_FAT_MM: Final = 2.0
"""Fat around a marked vessel; only the phantom paints it, nothing here depends on it."""
_SHORTEST_OUTLINE: Final = 6
"""Points below which an outline is surely no heart. Our choice."""


@dataclass(frozen=True)
class ScanSource:
    """Where a scan is from, on which terms, and which file below the data folder holds it."""

    file: PurePosixPath
    series_instance_uid: str
    collection: str
    subject: str
    licence: str
    doi: str
    attribution: str


@dataclass(frozen=True, eq=False)
class HeartOutline:
    """The pericardial sac at one height: a closed polygon, ``points_mm`` (n, 2) as x and y."""

    z_mm: float
    points_mm: Vectors


@dataclass(frozen=True)
class DenseSpot:
    """A ball that holds calcium or metal which the scan itself shows."""

    structure: Structure
    centre_mm: tuple[float, float, float]
    radius_mm: float


@dataclass(frozen=True, eq=False)
class ScanMarks:
    """The marks of one scan.

    Parameters
    ----------
    name
        Lower-case letters, digits and hyphens; part of the names of cases.
    source
        Which series it is and on which terms it may be used.
    z_range_mm
        Lowest and highest slice that the marks describe; others are not used.
    psf_sigma_mm
        Standard deviation of the in-plane point spread, without the width of a pixel.
    slice_thickness_mm
        Width at half maximum of the slice profile.
    heart
        Outlines, ascending in z.
    arteries
        Centre lines from the origin on, (n, 4): x, y, z and radius in mm.
    aorta
        Parts of the aorta by name, as centre lines like those of the arteries.
    aortic_root
        From the valve upwards, (n, 3).
    mitral_annulus
        Along its posterior half, (n, 3); may be empty.
    dense_spots
        What the scan itself shows.
    """

    name: str
    source: ScanSource
    z_range_mm: tuple[float, float]
    psf_sigma_mm: float
    slice_thickness_mm: float
    heart: tuple[HeartOutline, ...]
    arteries: Mapping[Artery, Vectors]
    aorta: Mapping[str, Vectors]
    aortic_root: Vectors
    mitral_annulus: Vectors
    dense_spots: tuple[DenseSpot, ...]

    def coronary_tree(self) -> CoronaryTree:
        """Return the marked arteries as the simulator knows them."""
        branches = []
        for artery, points in self.arteries.items():
            lumen = tube_through(points, step_mm=STEP_MM)
            groove = Tube(lumen.points, lumen.radii + _GROOVE_FAT_MM)
            branches.append(CoronaryBranch(artery.name, artery, lumen, groove))
        return CoronaryTree(tuple(branches), ())


def tube_through(points: Vectors, *, step_mm: float) -> Tube:
    """Return a tube through (n, 4) marked points; two points give a straight one."""
    x, y, z, radius = points.T.tolist()
    return smooth_tube(list(zip(x, y, z, radius, strict=True)), step_mm=step_mm)


def read_marks(path: Path) -> ScanMarks:
    """Read a file of marks.

    Raises
    ------
    ValueError
        If it is no file of marks, or if what it marks cannot be.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        marks = _parsed(content)
    except KeyError as error:
        raise ValueError(f"{path} does not say {error}.") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} holds no readable marks: {error}") from error
    _check(path, marks)
    return marks


def find_marks(folder: Path, leave_out: Iterable[str] = ()) -> list[ScanMarks]:
    """Return the marks in a folder, by name, without those that are left out.

    Raises
    ------
    ValueError
        If a file cannot be read, two scans have one name, or a name to leave out is not there.
    """
    found = [read_marks(path) for path in sorted(folder.glob("*.json"))]
    names = [marks.name for marks in found]
    if len(set(names)) < len(names):
        raise ValueError(f"Two files in {folder} have the same name: {', '.join(sorted(names))}.")
    unknown = sorted(set(leave_out) - set(names))
    if unknown:
        raise ValueError(
            f"No marks in {folder} are named {', '.join(unknown)}; there are {', '.join(names)}."
        )
    return [marks for marks in found if marks.name not in set(leave_out)]


def _parsed(content: Mapping[str, Any]) -> ScanMarks:
    source, scan = content["source"], content["scan"]
    low, high = (float(z) for z in content["z_range_mm"])
    return ScanMarks(
        name=str(content["name"]),
        source=ScanSource(
            file=PurePosixPath(source["file"]),
            series_instance_uid=str(source["series_instance_uid"]),
            collection=str(source["collection"]),
            subject=str(source["subject"]),
            licence=str(source["licence"]),
            doi=str(source["doi"]),
            attribution=str(source["attribution"]),
        ),
        z_range_mm=(low, high),
        psf_sigma_mm=float(scan["psf_sigma_mm"]),
        slice_thickness_mm=float(scan["slice_thickness_mm"]),
        heart=tuple(
            HeartOutline(float(level["z_mm"]), _points(level["outline_mm"], 2))
            for level in content["heart"]
        ),
        arteries={
            _artery(name): _points(points, 4) for name, points in content["arteries"].items()
        },
        aorta={str(name): _points(points, 4) for name, points in content["aorta"].items()},
        aortic_root=_points(content["aortic_root"], 3),
        mitral_annulus=_points(content["mitral_annulus"], 3),
        dense_spots=tuple(_dense_spot(spot) for spot in content["dense_spots"]),
    )


def _points(values: object, width: int) -> Vectors:
    points = np.array(values, dtype=np.float64).reshape(-1, width)
    if not np.isfinite(points).all():
        raise ValueError("A position must be a finite number of mm.")
    return points


def _artery(name: str) -> Artery:
    if name not in Artery.__members__:
        raise ValueError(f"{name!r} is no artery; one of {', '.join(Artery.__members__)} is.")
    return Artery[name]


def _dense_spot(spot: Mapping[str, Any]) -> DenseSpot:
    name = str(spot["structure"])
    if name not in Structure.__members__:
        raise ValueError(f"{name!r} is no structure; one of {', '.join(Structure.__members__)} is.")
    x, y, z = (float(value) for value in spot["centre_mm"])
    return DenseSpot(Structure[name], (x, y, z), float(spot["radius_mm"]))


def _check(path: Path, marks: ScanMarks) -> None:
    """Refuse what cannot be; a wrong mark teaches a network something wrong."""
    if not _NAME.fullmatch(marks.name):
        raise ValueError(
            f"{path}: the name {marks.name!r} may only have lower-case letters, digits and hyphens."
        )
    file = marks.source.file
    if file.is_absolute() or ".." in file.parts:
        raise ValueError(f"{path}: the file {file} must lie below the data folder.")
    low, high = marks.z_range_mm
    heights = [outline.z_mm for outline in marks.heart]
    if len(heights) < 2 or sorted(set(heights)) != heights:
        raise ValueError(
            f"{path}: the heart needs outlines at two or more heights, ascending; {heights} are "
            "given."
        )
    if not low <= heights[0] < heights[-1] <= high:
        raise ValueError(
            f"{path}: the heart reaches from {heights[0]} to {heights[-1]} mm, beyond the marked "
            f"range of {low} to {high} mm."
        )
    shortest = min(len(outline.points_mm) for outline in marks.heart)
    if shortest < _SHORTEST_OUTLINE:
        raise ValueError(
            f"{path}: an outline of the heart has {shortest} points; {_SHORTEST_OUTLINE} or more "
            "are needed."
        )
    lengths = {"psf_sigma_mm": marks.psf_sigma_mm, "slice_thickness_mm": marks.slice_thickness_mm}
    for name, value in lengths.items():
        if value <= 0.0:
            raise ValueError(f"{path}: {name} is {value} mm; it must be above 0.")
    if not marks.arteries:
        raise ValueError(f"{path}: no artery is marked.")
    named = {artery.name: points for artery, points in marks.arteries.items()} | {
        f"aorta, {part}": points for part, points in marks.aorta.items()
    }
    for name, points in named.items():
        if len(points) < 2 or points[:, 3].min() <= 0.0:
            raise ValueError(f"{path}: {name} needs two or more points with radii above 0 mm.")
