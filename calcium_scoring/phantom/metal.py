"""Metal in and on the patient: stents, leads, wires, clips, catheters, prosthetic valves.

A part is a cloud of points, each with an amount of excess attenuation, so that wires far thinner
than a pixel keep their exact amount. Sizes are those of usual devices; attenuations are our choice,
far above the scale of a scanner for metal and within it for plastic with barium.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, pi
from typing import Final, TypeAlias

import numpy as np

from calcium_scoring.phantom.acquisition import Scanner, slice_sensitivity
from calcium_scoring.phantom.anatomy import Anatomy
from calcium_scoring.phantom.deposits import DepositImage
from calcium_scoring.phantom.placing import chance
from calcium_scoring.phantom.shapes import Vectors, frame_along
from calcium_scoring.phantom.structures import Structure

POINT_STEP_MM: Final = 0.3
"""Distance of the points of a part along a wire; a share of the smallest pixel."""
PIECE_MM: Final = 15.0
"""Long wires are cut into pieces of this length, so that their images stay small."""

_STENT_ODDS: Final = 0.13
_ELECTRODE_ODDS: Final = 0.15
_BYPASS_SPREAD_MM: Final = 3.0


@dataclass(frozen=True, eq=False)
class MetalPart:
    """Points (n, 3) in LPS mm with ``amounts`` (n,) of excess HU times mm3."""

    owner: Structure
    points_mm: Vectors
    amounts: Vectors


def image_of_metal(part: MetalPart, scanner: Scanner) -> DepositImage | None:
    """Return the noise-free image of a part, or None where it lies outside the scan.

    Its sum times the voxel volume is the sum of the amounts, if it lies inside the scan.
    """
    shape, spacing = scanner.geometry.shape, np.array(scanner.geometry.spacing_mm)
    thickness = scanner.settings.slice_thickness_mm
    blur = np.array([0.75 * thickness, scanner.blur_reach_mm, scanner.blur_reach_mm])
    position = (part.points_mm[:, ::-1] - scanner.origin[::-1]) / spacing
    margin = np.ceil(blur / spacing).astype(int) + 1
    low = np.floor(position.min(axis=0)).astype(int) - margin
    high = np.ceil(position.max(axis=0)).astype(int) + margin + 1
    first, last = np.maximum(low, 0), np.minimum(high, shape)
    if (last - first < 1).any():
        return None
    rows, columns = (int(n) for n in high[1:] - low[1:])
    lower = np.floor(position[:, 1:]).astype(int)
    share = position[:, 1:] - lower
    lower -= low[1:]
    slices = np.arange(first[0], last[0])
    pixels = np.zeros((len(slices), rows, columns), dtype=np.float32)
    for local, slice_index in enumerate(slices):
        weights = part.amounts * slice_sensitivity(
            (position[:, 0] - slice_index) * spacing[0], thickness
        )
        used = np.flatnonzero(weights > 1e-6 * part.amounts)
        if not used.size:
            continue
        plane = np.zeros(rows * columns)
        for row_step in (0, 1):
            for column_step in (0, 1):
                part_of_point = np.abs(1 - row_step - share[used, 0]) * np.abs(
                    1 - column_step - share[used, 1]
                )
                cells = (lower[used, 0] + row_step) * columns + lower[used, 1] + column_step
                plane += np.bincount(cells, weights[used] * part_of_point, minlength=rows * columns)
        image = (plane / scanner.geometry.pixel_area_mm2).astype(np.float32)
        pixels[local] = scanner.blurred(image.reshape(rows, columns))
    cut = pixels[:, first[1] - low[1] : last[1] - low[1], first[2] - low[2] : last[2] - low[2]]
    return DepositImage(part.owner, (int(first[0]), int(first[1]), int(first[2])), cut)


def wire(
    points_mm: Vectors, radius_mm: float, excess_hu: float, owner: Structure = Structure.METAL
) -> list[MetalPart]:
    """Return a round wire along points (n, 3), in pieces."""
    steps = np.linalg.norm(np.diff(points_mm, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    length = float(along[-1])
    if length <= 0.0:
        return []
    count = max(2, ceil(length / POINT_STEP_MM))
    middles = (np.arange(count) + 0.5) * length / count
    line = np.stack([np.interp(middles, along, axis) for axis in points_mm.T], axis=1)
    across = max(1, ceil(pi * radius_mm**2 / 0.1))
    number = np.arange(across) + 0.5
    # A sunflower fills the disc evenly.
    turn, distance = number * pi * (3.0 - 5.0**0.5), radius_mm * np.sqrt(number / across)
    amount = excess_hu * pi * radius_mm**2 * (length / count) / across
    tangents = np.gradient(line, axis=0)
    parts = []
    per_piece = max(1, round(PIECE_MM / (length / count)))
    for start in range(0, count, per_piece):
        points = []
        for middle, tangent in zip(
            line[start : start + per_piece], tangents[start : start + per_piece], strict=True
        ):
            _, first, second = frame_along(tangent)
            disc = np.outer(distance * np.cos(turn), first) + np.outer(
                distance * np.sin(turn), second
            )
            points.append(middle + disc)
        cloud = np.concatenate(points)
        parts.append(MetalPart(owner, cloud, np.full(len(cloud), amount)))
    return parts


def stent(
    course_mm: Vectors,
    radius_mm: float,
    *,
    strut_mm: float,
    excess_hu: float,
    cells: int,
    pitch_mm: float,
    owner: Structure = Structure.STENT,
) -> list[MetalPart]:
    """Return a tube of zigzag rings about a course (n, 3), joined by short links.

    ``strut_mm`` is the width and thickness of a strut, ``cells`` the number of peaks of a ring.
    """
    steps = np.linalg.norm(np.diff(course_mm, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    rings = max(1, int(along[-1] / pitch_mm))
    struts: list[Vectors] = []
    turns = np.linspace(0.0, 2.0 * np.pi, 8 * cells + 1)
    wave = np.abs((turns * cells / np.pi) % 2.0 - 1.0)
    for ring in range(rings):
        heights = (ring + 0.1 + 0.8 * wave) * pitch_mm
        struts.append(_on_tube(course_mm, along, heights, turns, radius_mm))
        for link in range(0, cells, 2):
            angle = np.full(3, 2.0 * np.pi * link / cells)
            heights = (ring + np.array([0.9, 1.0, 1.1])) * pitch_mm
            struts.append(_on_tube(course_mm, along, heights, angle, radius_mm))
    # The area of a square strut, as a round wire of the same area.
    wire_radius = strut_mm / np.sqrt(pi)
    pieces = [piece for strut in struts for piece in wire(strut, wire_radius, excess_hu, owner)]
    points = np.concatenate([piece.points_mm for piece in pieces])
    amounts = np.concatenate([piece.amounts for piece in pieces])
    return [MetalPart(owner, points, amounts)]


def _on_tube(
    course: Vectors, along: Vectors, heights: Vectors, turns: Vectors, radius_mm: float
) -> Vectors:
    heights = np.clip(heights, 0.0, along[-1])
    centre = np.stack([np.interp(heights, along, axis) for axis in course.T], axis=1)
    first = frame_along(course[-1] - course[0])[1]
    ahead = np.stack(
        [np.interp(np.minimum(heights + 0.5, along[-1]), along, c) for c in course.T], axis=1
    ) - np.stack([np.interp(np.maximum(heights - 0.5, 0.0), along, c) for c in course.T], axis=1)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True) + 1e-9
    # The frame of the whole stent, turned square to the course where it bends.
    first = first - (ahead @ first)[:, np.newaxis] * ahead
    first /= np.linalg.norm(first, axis=1, keepdims=True) + 1e-9
    second = np.cross(ahead, first)
    outwards = np.cos(turns)[:, np.newaxis] * first + np.sin(turns)[:, np.newaxis] * second
    return np.asarray(centre + radius_mm * outwards)


_Maker: TypeAlias = Callable[[Anatomy, np.random.Generator], list[MetalPart]]


def sample_metal(
    anatomy: Anatomy, *, body_scale: float, stream: np.random.SeedSequence
) -> tuple[MetalPart, ...]:
    """Return the metal of a patient; devices are only there where the settings say so.

    Stents and the electrodes of an electrocardiogram come on their own.
    """
    rng = np.random.default_rng(stream)
    parts: list[MetalPart] = []
    rate = anatomy.settings.confuser_rate
    if chance(rng, _STENT_ODDS, rate):
        for _ in range(1 + int(rng.random() < 0.4)):
            parts += _coronary_stent(anatomy, rng)
    if chance(rng, _ELECTRODE_ODDS, rate):
        parts += _electrodes(anatomy, rng)
    if anatomy.settings.has_metal:
        makers, odds = zip(*_DEVICES, strict=True)
        shares = np.array(odds)
        count = 1 + int(rng.random() < 0.35)
        chosen = rng.choice(len(makers), size=count, replace=False, p=shares / shares.sum())
        for index in chosen:
            parts += makers[int(index)](anatomy, rng)
    # A device is as large in a small body as in a large one; only its place is scaled.
    return tuple(MetalPart(part.owner, part.points_mm * body_scale, part.amounts) for part in parts)


def _spline(points: Sequence[Vectors], rng: np.random.Generator, wander_mm: float) -> Vectors:
    """Return a curve through points that are moved at random, but for the last."""
    controls = np.array(points, dtype=np.float64)
    controls[:-1] += rng.normal(0.0, wander_mm, size=(len(controls) - 1, 3))
    lengths = np.linalg.norm(np.diff(controls, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    fine = np.linspace(0.0, along[-1], max(8, int(along[-1] / 2.0)))
    smooth = np.stack([np.interp(fine, along, axis) for axis in controls.T], axis=1)
    for _ in range(12):
        smooth[1:-1] = 0.25 * smooth[:-2] + 0.5 * smooth[1:-1] + 0.25 * smooth[2:]
    return smooth


def _coronary_stent(anatomy: Anatomy, rng: np.random.Generator) -> list[MetalPart]:
    branches = [b for b in anatomy.coronaries.branches if float(b.lumen.radii.max()) > 1.1]
    branch = branches[int(rng.integers(len(branches)))]
    points = branch.lumen.points
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    length = float(rng.uniform(8.0, 38.0))
    start = float(rng.beta(1.0, 2.0)) * max(along[-1] - length, 0.0)
    inside = (along >= start) & (along <= start + length)
    if inside.sum() < 3:
        return []
    radius = float(np.clip(branch.lumen.radii[inside].mean() * rng.uniform(0.75, 1.0), 1.05, 2.1))
    return stent(
        points[inside],
        radius,
        strut_mm=float(rng.uniform(0.08, 0.15)),
        excess_hu=float(rng.uniform(9000.0, 26000.0)),
        cells=int(rng.integers(5, 9)),
        pitch_mm=float(rng.uniform(0.9, 1.6)),
    )


def _venous_way(anatomy: Anatomy, rng: np.random.Generator) -> list[Vectors]:
    """Return the way from a shoulder or the neck to the superior vena cava."""
    entry = [
        [np.array([72.0, -88, 122]), np.array([38, -84, 116]), np.array([4, -82, 103])],
        [np.array([-72.0, -88, 122]), np.array([-46, -84, 118]), np.array([-34, -78, 108])],
        [np.array([-44.0, -66, 190]), np.array([-38, -70, 150]), np.array([-30, -74, 118])],
        [np.array([40.0, -62, 190]), np.array([38, -66, 140]), np.array([4, -82, 103])],
    ]
    way = entry[int(rng.choice(4, p=[0.4, 0.25, 0.25, 0.1]))]
    way += [np.array([-26.0, -70, 88]), np.array([-28, -67, 55])]
    return [anatomy.place(point) for point in way]


def _leads(anatomy: Anatomy, rng: np.random.Generator) -> list[MetalPart]:
    """Return one to three leads with their can: right ventricle, right atrium, cardiac vein."""
    _, right_ventricle, right_atrium = anatomy.chambers[:3]
    appendage = anatomy.chambers[4] if len(anatomy.chambers) > 4 else right_atrium
    way = _venous_way(anatomy, rng)
    radius = float(rng.uniform(0.7, 1.1))
    excess_hu = float(rng.uniform(4000.0, 12000.0))
    apex = right_ventricle.centre + 0.88 * right_ventricle.radii[0] * right_ventricle.axes[0]
    low_atrium = right_atrium.centre + np.array([3.0, 0.0, -10.0])
    to_ventricle = _spline([*way, low_atrium, right_ventricle.centre, apex], rng, 2.0)
    parts = wire(to_ventricle, radius, excess_hu)
    parts += wire(to_ventricle[-2:], radius + 0.3, 2.0 * excess_hu)
    if rng.random() < 0.4:
        # A defibrillator's coils are thicker than the lead.
        coil = to_ventricle[-max(4, len(to_ventricle) // 6) :]
        parts += wire(coil, float(rng.uniform(1.2, 1.7)), 1.5 * excess_hu)
        if rng.random() < 0.5:
            parts += wire(to_ventricle[len(to_ventricle) // 3 : len(to_ventricle) // 2], 1.4,
                          1.5 * excess_hu)  # fmt: skip
    if rng.random() < 0.55:
        to_atrium = _spline(
            [*way, right_atrium.centre, right_atrium.centre + np.array([2.0, -8.0, -4.0]),
             appendage.centre], rng, 2.0,
        )  # fmt: skip
        parts += wire(to_atrium, radius, excess_hu)
    circumflex = [b for b in anatomy.coronaries.branches if b.name == "LCX"]
    if circumflex and rng.random() < 0.25:
        # Through the coronary sinus, which runs beside the circumflex artery.
        sinus = circumflex[0].lumen.points[::-1][2:-6:3] + rng.normal(0.0, 1.0, size=3) * 3.0
        parts += wire(_spline([*way, low_atrium, *sinus], rng, 1.0), 0.8 * radius, excess_hu)
    if rng.random() < 0.7:
        can = anatomy.place([np.sign(way[0][0]) * 82.0, -118.0, 100.0])
        grid = np.stack(np.meshgrid(*[np.linspace(-1.0, 1.0, n) for n in (36, 8, 36)],
                                    indexing="ij"), axis=-1).reshape(-1, 3)  # fmt: skip
        disc = grid[np.hypot(grid[:, 0], grid[:, 2]) <= 1.0] * np.array([24.0, 4.0, 22.0])
        amount = 9000.0 * pi * 24.0 * 22.0 * 8.0 / len(disc)
        parts.append(MetalPart(Structure.METAL, can + disc, np.full(len(disc), amount)))
    return parts


def _sternal_section(anatomy: Anatomy, z: float) -> tuple[Vectors, float, float] | None:
    """Return the middle of the sternum at a height, its half width and half depth."""
    near = [
        (point, float(radius))
        for tube in anatomy.skeleton.sternum
        for point, radius in zip(tube.points, tube.radii, strict=True)
        if abs(point[2] - z) < 7.0
    ]
    if not near:
        return None
    points = np.array([point for point, _ in near])
    radius = max(radius for _, radius in near)
    low, high = points.min(axis=0), points.max(axis=0)
    middle = 0.5 * (low + high)
    middle[2] = z
    return middle, 0.5 * float(high[0] - low[0]) + radius, radius


def _sternal_wires(anatomy: Anatomy, rng: np.random.Generator) -> list[MetalPart]:
    """Return loops round the sternum with their twists, often with the clips of a bypass."""
    parts: list[MetalPart] = []
    heights = np.arange(-38.0, 92.0, float(rng.uniform(17.0, 26.0))) + float(rng.uniform(-8.0, 8.0))
    radius = float(rng.uniform(0.35, 0.55))
    excess_hu = float(rng.uniform(12000.0, 22000.0))
    for height in heights:
        section = _sternal_section(anatomy, float(height))
        if section is None or rng.random() < 0.1:
            continue
        middle, half_width, half_depth = section
        turns = np.linspace(0.0, 2.0 * np.pi, 33)
        tilt = float(rng.normal(0.0, 0.15))
        loop = middle + np.stack(
            [
                (half_width + rng.uniform(0.5, 3.0)) * np.cos(turns),
                (half_depth + rng.uniform(0.8, 2.5)) * np.sin(turns),
                rng.uniform(-3.0, 3.0) * np.sin(2.0 * turns) + tilt * half_width * np.cos(turns),
            ],
            axis=1,
        )
        parts += wire(loop, radius, excess_hu)
        knot = middle + np.array([rng.uniform(-6.0, 6.0), -half_depth - 2.0, 0.0])
        end = knot + np.array([rng.normal(0.0, 3.0), -1.0, rng.uniform(3.0, 7.0)])
        parts += wire(np.stack([knot, end]), 1.4 * radius, excess_hu)
    if rng.random() < 0.6:
        parts += _bypass_clips(anatomy, rng)
    return parts


def _clip(place: Vectors, rng: np.random.Generator, size_mm: float) -> list[MetalPart]:
    """Return a small bent staple."""
    _, first, second = frame_along(rng.normal(size=3))
    bend = np.stack(
        [
            place - 0.5 * size_mm * first + 0.25 * size_mm * second,
            place,
            place + 0.5 * size_mm * first + 0.25 * size_mm * second,
        ]
    )
    return wire(bend, float(rng.uniform(0.3, 0.7)), float(rng.uniform(5000.0, 20000.0)))


def _bypass_clips(anatomy: Anatomy, rng: np.random.Generator) -> list[MetalPart]:
    """Return clips along an internal mammary artery, and along grafts down to the heart."""
    parts: list[MetalPart] = []
    side = 1.0 if rng.random() < 0.85 else -1.0
    for height in np.arange(-10.0, 100.0, float(rng.uniform(7.0, 20.0))):
        section = _sternal_section(anatomy, float(height))
        if section is None or rng.random() < 0.25:
            continue
        middle, half_width, half_depth = section
        place = middle + np.array([side * (half_width + 8.0), half_depth + 3.0, 0.0])
        parts += _clip(place + rng.normal(0.0, 2.0, size=3), rng, float(rng.uniform(3.0, 6.0)))
    for branch in anatomy.coronaries.branches:
        if branch.name not in {"LAD", "D1", "OM1", "RCA"} or rng.random() < 0.5:
            continue
        target = branch.lumen.points[len(branch.lumen.points) // 2]
        outwards = target - anatomy.left_ventricle.centre
        outwards /= np.linalg.norm(outwards)
        rising = anatomy.aorta.points[
            int(np.abs(anatomy.aorta.points[:, 2] - 40.0).argmin())
        ] + np.array([0.0, -17.0, 0.0])
        for _ in range(int(rng.integers(1, 6))):
            share = float(rng.random())
            place = target + 6.0 * outwards + share * (rising - target)
            place = place + rng.normal(0.0, _BYPASS_SPREAD_MM, size=3)
            parts += _clip(place, rng, float(rng.uniform(3.0, 6.0)))
        if rng.random() < 0.5:
            # The marker of a graft's mouth on the aorta.
            parts += _ring(rising, rng.normal(size=3), float(rng.uniform(3.0, 6.0)), 0.4, 9000.0)
    return parts


def _ring(
    centre: Vectors, normal: Vectors, radius_mm: float, thickness_mm: float, excess_hu: float, *,
    span: float = 2.0 * np.pi,
) -> list[MetalPart]:  # fmt: skip
    _, first, second = frame_along(np.asarray(normal, dtype=np.float64))
    turns = np.linspace(0.0, span, 41)[:, np.newaxis]
    loop = centre + radius_mm * (np.cos(turns) * first + np.sin(turns) * second)
    return wire(loop, thickness_mm, excess_hu)


def _valve_prosthesis(anatomy: Anatomy, rng: np.random.Generator) -> list[MetalPart]:
    """Return an artificial aortic or mitral valve, a repair ring, or a valve in a frame."""
    parts: list[MetalPart] = []
    axis = anatomy.aorta.points[2] - anatomy.aorta.points[0]
    is_aortic = rng.random() < 0.6
    centre, normal = (anatomy.aortic_valve, axis) if is_aortic else (anatomy.mitral_annulus)
    radius = float(rng.uniform(9.0, 12.0) if is_aortic else rng.uniform(12.0, 16.0))
    radius *= anatomy.settings.heart_scale
    kind = str(rng.choice(["mechanical", "tissue", "frame", "repair"]))
    excess_hu = float(rng.uniform(5000.0, 14000.0))
    if kind == "frame" and is_aortic:
        length = float(rng.uniform(18.0, 45.0))
        unit = axis / np.linalg.norm(axis)
        course = centre + np.linspace(-0.3, 0.7, 12)[:, np.newaxis] * length * unit
        return stent(
            course, radius, strut_mm=float(rng.uniform(0.3, 0.45)), excess_hu=excess_hu,
            cells=int(rng.integers(9, 13)), pitch_mm=float(rng.uniform(5.0, 9.0)),
            owner=Structure.METAL,
        )  # fmt: skip
    if kind == "repair" and not is_aortic:
        return _ring(centre, normal, radius, float(rng.uniform(0.6, 1.2)), excess_hu,
                     span=float(rng.uniform(4.0, 6.28)))  # fmt: skip
    parts += _ring(centre, normal, radius, float(rng.uniform(0.5, 1.3)), excess_hu)
    unit, first, second = frame_along(np.asarray(normal, dtype=np.float64))
    if kind == "mechanical":
        opening = float(rng.uniform(0.2, 1.4))
        for side in (-1.0, 1.0):
            # Two half discs, tilted.
            across = np.linspace(-0.8, 0.8, 7)
            for depth in np.linspace(0.1, 0.9, 5):
                lean = side * depth * np.cos(opening) * first + depth * np.sin(opening) * unit
                chord = np.sqrt(1.0 - depth**2)
                line = centre + radius * (lean + np.outer(across * chord, second))
                parts += wire(line, 0.5, 0.5 * excess_hu)
    else:
        for post in range(3):
            angle = 2.0 * np.pi * post / 3.0
            foot = centre + radius * (np.cos(angle) * first + np.sin(angle) * second)
            parts += wire(np.stack([foot, foot + 0.9 * radius * unit]), 0.5, excess_hu)
    return parts


def _catheter(anatomy: Anatomy, rng: np.random.Generator) -> list[MetalPart]:
    """Return a central venous catheter, with or without a port under the skin."""
    way = _venous_way(anatomy, rng)
    right_atrium = anatomy.chambers[2]
    end = right_atrium.centre + np.array([-2.0, 2.0, float(rng.uniform(-5.0, 30.0))])
    excess_hu = float(rng.uniform(500.0, 2500.0))
    course = _spline([*way, end], rng, 1.5)
    if rng.random() < 0.5:
        port = anatomy.place([np.sign(way[0][0]) * 72.0, -120.0, 96.0])
        course = _spline([port, *way, end], rng, 1.5)
    parts = wire(course, float(rng.uniform(0.8, 1.3)), excess_hu)
    if np.linalg.norm(course[0] - way[0]) > 20.0:
        port = course[0]
        for height in np.linspace(-4.0, 4.0, 5):
            offset = np.array([0.0, height, 0.0])
            parts += _ring(port + offset, np.array([0.0, 1.0, 0.0]), 11.0, 0.9, 4000.0)
    return parts


_CLIP_SITES: Final = (
    # Gall bladder, stomach, left and right breast, hilum, thyroid: our choice.
    (-44.0, -82.0, -108.0), (50.0, -60.0, -92.0), (80.0, -135.0, -10.0), (-80.0, -135.0, -10.0),
    (-36.0, -28.0, 26.0), (44.0, -24.0, 26.0), (0.0, -68.0, 138.0), (8.0, -34.0, -100.0),
)  # fmt: skip


def _surgical_clips(anatomy: Anatomy, rng: np.random.Generator) -> list[MetalPart]:
    parts: list[MetalPart] = []
    for _ in range(int(rng.integers(1, 3))):
        site = anatomy.place(_CLIP_SITES[int(rng.integers(len(_CLIP_SITES)))])
        for _ in range(int(rng.integers(2, 9))):
            place = site + rng.normal(0.0, 6.0, size=3)
            parts += _clip(place, rng, float(rng.uniform(3.0, 9.0)))
    return parts


def _gastric_tube(anatomy: Anatomy, rng: np.random.Generator) -> list[MetalPart]:
    """Return a tube in the oesophagus whose wall carries an opaque stripe."""
    course = anatomy.oesophagus.points + rng.normal(0.0, 1.5, size=3)
    return wire(course, float(rng.uniform(0.5, 0.9)), float(rng.uniform(800.0, 3000.0)))


def _electrodes(anatomy: Anatomy, rng: np.random.Generator) -> list[MetalPart]:
    """Return electrodes on the skin with the beginning of their cables."""
    parts: list[MetalPart] = []
    for _ in range(int(rng.integers(1, 5))):
        angle, z = float(rng.uniform(0.3, np.pi - 0.3)), float(rng.uniform(-80.0, 110.0))
        direction = np.array([np.cos(angle), -np.sin(angle)])
        distances = np.arange(60.0, 260.0, 1.0, dtype=np.float32)
        inside = [
            float(anatomy.wall_fields(
                np.array([[d * direction[0]]], dtype=np.float32),
                np.array([[-40.0 + d * direction[1]]], dtype=np.float32), z,
            ).body[0, 0]) < 0.0
            for d in distances[::5]
        ]  # fmt: skip
        if not any(inside):
            continue
        skin = float(distances[::5][np.flatnonzero(inside)[-1]]) + 4.0
        place = np.array([skin * direction[0], -40.0 + skin * direction[1], z])
        outwards = np.array([direction[0], direction[1], 0.0])
        for radius in (1.5, 3.5):
            parts += _ring(place, outwards, radius, 0.5, float(rng.uniform(2000.0, 9000.0)))
        cable = np.stack([place, place + 6.0 * outwards, place + 10.0 * outwards + [0, 0, 60.0]])
        parts += wire(cable, 0.5, float(rng.uniform(2000.0, 8000.0)))
    return parts


_DEVICES: Final[tuple[tuple[_Maker, float], ...]] = (
    (_leads, 0.27), (_sternal_wires, 0.27), (_valve_prosthesis, 0.14), (_catheter, 0.14),
    (_surgical_clips, 0.16), (_gastric_tube, 0.06),
)  # fmt: skip
