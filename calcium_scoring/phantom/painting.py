"""From anatomy to thin planes of Hounsfield values, before the scanner's blur.

Large shapes are evaluated on a coarse grid, where their signed distance is smooth, and
interpolated; small ones in the pixels around them. A distance becomes a share of the pixel, so
that edges carry partial volume. Attenuations are our choice within the usual ranges at 120 kVp.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calcium_scoring.phantom.acquisition import FloatImage, Scanner
from calcium_scoring.phantom.anatomy import Anatomy
from calcium_scoring.phantom.cage import dome_distance, spine_offset
from calcium_scoring.phantom.shapes import (
    FAR_MM,
    Distance,
    Segments,
    superellipse_distance,
)
from calcium_scoring.phantom.skeleton import DISC_MM, VERTEBRA_PITCH_MM
from calcium_scoring.phantom.structures import Structure

AIR: Final = -1000.0
FAT: Final = -100.0
SKIN: Final = 10.0
LIVER: Final = 58.0
WALL: Final = 48.0
CARTILAGE: Final = 95.0
CORTEX: Final = 750.0
SPONGY: Final = 190.0
DISC: Final = 85.0
CANAL: Final = 25.0
METAL: Final = 3500.0
TABLE: Final = 50.0

BONE_RIM_MM: Final = 1.0
_BODY_PITCH_MM: Final = 2.5
_HEART_PITCH_MM: Final = 1.8
_HEART_BOX: Final = ((-105.0, 130.0), (-155.0, 40.0))
_SPINE_BOX: Final = ((-48.0, 48.0), (-32.0, 75.0))
_TILE: Final = 96

StructureImage: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Window:
    """Pixels of a plane within a box: their slices, positions, and a coarse grid for them."""

    where: tuple[slice, slice]
    x: Distance
    y: Distance
    coarse_x: Distance
    coarse_y: Distance
    from_coarse_x: Distance
    from_coarse_y: Distance

    def enlarged(self, coarse: Distance) -> Distance:
        """Return values of the coarse grid at every pixel, linearly interpolated."""
        result: Distance = self.from_coarse_y @ coarse.astype(np.float32) @ self.from_coarse_x
        return result


def _window(
    xs: Distance, ys: Distance, box: tuple[tuple[float, float], tuple[float, float]], pitch: float
) -> Window:
    slices, coarse, weights = [], [], []
    for values, (low, high) in zip((ys, xs), (box[1], box[0]), strict=True):
        first, last = np.searchsorted(values, [low, high])
        part = values[first:last]
        slices.append(slice(int(first), int(last)))
        nodes = np.arange(0.0, 2.0) if not part.size else np.arange(
            part[0] - pitch, part[-1] + 2.0 * pitch, pitch
        )  # fmt: skip
        position = (part[:, np.newaxis] - nodes) / pitch
        coarse.append(nodes.astype(np.float32))
        weights.append(np.clip(1.0 - np.abs(position), 0.0, 1.0).astype(np.float32))
    return Window(
        where=(slices[0], slices[1]),
        x=xs[slices[1]][np.newaxis],
        y=ys[slices[0]][:, np.newaxis],
        coarse_x=coarse[1][np.newaxis],
        coarse_y=coarse[0][:, np.newaxis],
        from_coarse_x=np.ascontiguousarray(weights[1].T),
        from_coarse_y=weights[0],
    )


class PlanePainter:
    """Paints planes of one patient on the pixels of one scan."""

    def __init__(self, anatomy: Anatomy, scanner: Scanner) -> None:
        self._anatomy = anatomy
        self._scanner = scanner
        self._scale = anatomy.settings.body_scale
        size = scanner.settings.matrix_size
        pixel = scanner.settings.pixel_spacing_mm
        self._pixel = pixel / self._scale
        self._xs = ((scanner.origin[0] + np.arange(size) * pixel) / self._scale).astype(np.float32)
        self._ys = ((scanner.origin[1] + np.arange(size) * pixel) / self._scale).astype(np.float32)
        everywhere = ((-1e4, 1e4), (-1e4, 1e4))
        self._body = _window(self._xs, self._ys, everywhere, _BODY_PITCH_MM)
        self._heart = _window(self._xs, self._ys, _HEART_BOX, _HEART_PITCH_MM)
        self._spine = _window(self._xs, self._ys, _SPINE_BOX, 2.0)
        skeleton = anatomy.skeleton
        self._lung_vessels = Segments.of(anatomy.lung_vessels)
        self._airways = Segments.of(anatomy.airways)
        self._coronaries = Segments.of([branch.lumen for branch in anatomy.coronaries.branches])
        self._cartilages = Segments.of(skeleton.costal_cartilages)
        self._metal = Segments.of(anatomy.leads_and_wires)
        self._bones = (
            (Segments.of(skeleton.ribs), 1.2),
            (Segments.of(skeleton.sternum), 1.0),
            (Segments.of(skeleton.shoulder_bones), 1.6),
        )
        rng = np.random.default_rng(anatomy.texture_seed)
        self._coarse_texture = ndimage.gaussian_filter(
            rng.standard_normal((24, 48, 48), dtype=np.float32), 1.2, mode="wrap"
        )
        self._coarse_texture /= self._coarse_texture.std()
        self._fine_texture = ndimage.gaussian_filter(
            rng.standard_normal((_TILE, _TILE, _TILE), dtype=np.float32), 0.8, mode="wrap"
        )
        self._fine_texture /= self._fine_texture.std()

    def plane(self, plane_index: int) -> tuple[FloatImage, StructureImage]:
        """Return HU and structure labels of plane ``plane_index`` above the first slice."""
        z = (self._scanner.origin[2] + plane_index * self._scanner.plane_pitch_mm) / self._scale
        size = self._scanner.settings.matrix_size
        hu = np.full((size, size), AIR, dtype=np.float32)
        structures = np.zeros((size, size), dtype=np.uint8)
        self._paint_table(hu, structures)
        lung = self._paint_wall(hu, z)
        self._paint_mediastinum(hu, lung, z)
        self._paint_lungs(hu, lung, z)
        self._paint_tubes(hu, self._lung_vessels, z, self._anatomy.settings.blood_hu)
        self._paint_airways(hu, z)
        self._paint_texture(hu, z)
        self._paint_skeleton(hu, structures, z)
        self._paint_metal(hu, structures, z)
        return hu, structures

    def _share(self, distance: Distance) -> Distance:
        """Return how much of a pixel lies inside."""
        result: Distance = np.clip(0.5 - distance * np.float32(1.0 / self._pixel), 0.0, 1.0)
        return result

    def _cover(self, hu: FloatImage, distance: Distance, value: float | Distance) -> None:
        """Paint a value over what is there, inside a shape."""
        hu += self._share(distance) * (np.asarray(value, dtype=np.float32) - hu)

    def _paint_table(self, hu: FloatImage, structures: StructureImage) -> None:
        settings = self._anatomy.settings
        top = 92.0 + 1.1 * settings.subcutaneous_fat_mm + 0.5 * settings.muscle_mm
        x, y = self._body.x, self._body.y
        depth = y - (top - np.square(x) / 900.0)
        shell = np.where(np.abs(x) < 210.0, np.abs(depth) - 0.9, np.float32(FAR_MM))
        self._cover(hu, shell, TABLE)
        foam = np.where(np.abs(x) < 210.0, np.abs(depth - 14.0) - 13.0, np.float32(FAR_MM))
        self._cover(hu, foam, -965.0)
        structures[shell < 0.0] = Structure.TABLE

    def _paint_wall(self, hu: FloatImage, z: float) -> Distance:
        """Paint everything but heart, lungs and bones; return the distance to the lungs."""
        window, settings = self._body, self._anatomy.settings
        fields = self._anatomy.wall_fields(window.coarse_x, window.coarse_y, z)
        body = window.enlarged(fields.body)
        self._cover(hu, body, SKIN)
        self._cover(hu, body + 1.6, FAT)
        muscle = window.enlarged(fields.muscle)
        cage = window.enlarged(fields.cage)
        self._cover(hu, muscle, settings.muscle_hu)
        # Layers of fat between the muscles of back and flank.
        layers = np.abs(cage - 0.62 * settings.muscle_mm - 1.5) - 0.7
        self._cover(hu, np.maximum(layers, muscle + 1.5), -40.0)
        self._cover(hu, cage + 1.0, FAT + 8.0)
        below = np.maximum(fields.cage + 5.0, fields.dome + 1.5)
        if (below < 3.0).any():
            self._paint_abdomen(hu, window.enlarged(below), z)
        return window.enlarged(
            np.maximum(np.maximum(fields.cage + 1.5, -fields.dome), -fields.spine_region)
        )

    def _paint_abdomen(self, hu: FloatImage, below: Distance, z: float) -> None:
        px, py = self._anatomy.unroll(self._body.x, self._body.y)
        self._cover(hu, below - 1.5, WALL)
        self._cover(hu, below + 1.5, FAT)
        liver = np.maximum(below + 2.0, 0.8 * (px - 28.0 + 0.25 * (py + 60.0) - 0.35 * (z + 55.0)))
        self._cover(hu, liver - 1.5, LIVER)
        window = self._body
        for organ, value in self._anatomy.abdominal_organs:
            inside = window.enlarged(organ.distance(window.coarse_x, window.coarse_y, z))
            inside = np.maximum(inside, below + 2.5)
            self._cover(hu, inside, value)
            if value < 40.0:  # The stomach holds air in front of its content.
                level = organ.centre[1] - 0.35 * organ.radii[1]
                self._cover(hu, np.maximum(inside + 3.5, py - level), -950.0)

    def _paint_mediastinum(self, hu: FloatImage, lung: Distance, z: float) -> None:
        anatomy, window, settings = self._anatomy, self._heart, self._anatomy.settings
        if 0 in hu[window.where].shape:
            return
        x, y = window.coarse_x, window.coarse_y
        fields = anatomy.heart_fields(x, y, z)
        part = hu[window.where]
        np.maximum(lung[window.where], -window.enlarged(fields.hull), out=lung[window.where])
        inside = lung[window.where]
        # Below the diaphragm only the pericardial sac displaces what is there.
        dome = dome_distance(*anatomy.unroll(x, y), z, anatomy.dome_heights)
        fat = np.maximum(window.enlarged(np.maximum(fields.hull, -dome)), -inside)
        self._cover(part, fat, FAT + 5.0)
        sac = window.enlarged(fields.sac)
        self._cover(part, sac, FAT + 5.0)
        self._cover(part, np.asarray(np.abs(sac) - 0.5, dtype=np.float32), 15.0)
        chambers = window.enlarged(fields.chambers)
        cavity = window.enlarged(fields.cavity)
        self._cover(part, chambers, settings.blood_hu + 2.0)
        ventricle = window.enlarged(anatomy.left_ventricle.distance(x, y, z))
        self._cover(part, np.maximum(ventricle, chambers), settings.muscle_hu)
        self._cover(part, np.maximum(cavity, chambers), settings.blood_hu)
        vessels = window.enlarged(fields.vessels)
        self._cover(part, vessels, WALL)
        self._cover(part, vessels + 1.5, settings.blood_hu)
        oesophagus = window.enlarged(fields.oesophagus)
        self._cover(part, oesophagus, 38.0)
        if self._coarse_texture[int(z / 12.0) % 24, 0, 0] > 0.4:
            self._cover(part, oesophagus + 5.2, -700.0)
        self._paint_tubes(hu, self._coronaries, z, WALL, grown=0.3)

    def _paint_lungs(self, hu: FloatImage, lung: Distance, z: float) -> None:
        _, py = self._anatomy.unroll(self._body.x, self._body.y)
        density = self._anatomy.settings.lung_hu + 45.0 * np.clip((py + 40.0) / 90.0, -1.0, 1.0)
        texture = self._texture(self._body, z)
        self._cover(hu, lung, density + 12.0 * texture)

    def _paint_airways(self, hu: FloatImage, z: float) -> None:
        self._paint_tubes(hu, self._airways, z, 30.0, grown=1.0)
        self._paint_tubes(hu, self._airways, z, -985.0, grown=-0.4)

    def _texture(self, window: Window, z: float) -> Distance:
        """Return slowly varying random values of standard deviation 1."""
        position = z / 10.0
        lower = int(np.floor(position))
        share = np.float32(position - lower)
        tile = (
            self._coarse_texture[lower % 24] * (1 - share)
            + self._coarse_texture[(lower + 1) % 24] * share
        )
        rows = np.floor(window.coarse_y[:, 0] / 9.0).astype(int) % 48
        columns = np.floor(window.coarse_x[0] / 9.0).astype(int) % 48
        return window.enlarged(ndimage.gaussian_filter(tile[np.ix_(rows, columns)], 1.5))

    def _paint_texture(self, hu: FloatImage, z: float) -> None:
        """Vary soft tissue slowly and run septa through fat and fat through muscle."""
        texture = self._texture(self._body, z + 500.0)
        strands = np.clip(1.0 - 9.0 * np.abs(texture), 0.0, 1.0)
        is_fat = (hu > -140.0) & (hu < -70.0)
        is_soft = (hu > -140.0) & (hu < 120.0)
        hu += is_soft * np.float32(3.0) * texture
        hu += np.where(is_fat, np.float32(45.0), np.float32(0.0)) * strands

    def _distance_to(
        self, segments: Segments, z: float, margin: float
    ) -> tuple[Distance, tuple[slice, slice]] | None:
        """Return the distance to the nearest capsule in the box around those near the plane."""
        size, pixel = len(self._xs), self._pixel
        x0, y0 = float(self._xs[0]), float(self._ys[0])
        found: list[tuple[int, int, int, int, int]] = []
        for index in segments.near(z, margin):
            (left, right), (front, back) = segments.box(index, margin + pixel)
            c0, c1 = max(0, floor((left - x0) / pixel)), min(size, ceil((right - x0) / pixel) + 1)
            r0, r1 = max(0, floor((front - y0) / pixel)), min(size, ceil((back - y0) / pixel) + 1)
            if c1 > c0 and r1 > r0:
                found.append((r0, r1, c0, c1, index))
        if not found:
            return None
        r0, c0 = min(f[0] for f in found), min(f[2] for f in found)
        r1, c1 = max(f[1] for f in found), max(f[3] for f in found)
        distance = np.full((r1 - r0, c1 - c0), FAR_MM, dtype=np.float32)
        for top, bottom, first, last, index in found:
            view = distance[top - r0 : bottom - r0, first - c0 : last - c0]
            x, y = self._xs[np.newaxis, first:last], self._ys[top:bottom, np.newaxis]
            np.minimum(view, segments.distance(index, x, y, z), out=view)
        return distance, (slice(r0, r1), slice(c0, c1))

    def _paint_tubes(
        self, hu: FloatImage, segments: Segments, z: float, value: float, grown: float = 0.0
    ) -> None:
        near = self._distance_to(segments, z, max(grown, 0.0) + 1.0)
        if near is not None:
            self._cover(hu[near[1]], near[0] - np.float32(grown), value)

    def _paint_skeleton(self, hu: FloatImage, structures: StructureImage, z: float) -> None:
        self._paint_tubes(hu, self._cartilages, z, CARTILAGE)
        for bones, shell in self._bones:
            near = self._distance_to(bones, z, 1.5)
            if near is not None:
                self._paint_bone(hu, structures, near[0], near[1], cortex_mm=shell, z=z)
        self._paint_vertebra(hu, structures, z)

    def _paint_bone(
        self,
        hu: FloatImage,
        structures: StructureImage,
        distance: Distance,
        where: tuple[slice, slice],
        *,
        cortex_mm: float,
        z: float,
    ) -> None:
        """Paint cortex and spongy bone."""
        part = hu[where]
        factor = self._anatomy.settings.bone_scale
        self._cover(part, distance, CORTEX * factor)
        rows = (self._ys[where[0]] * 1.1).astype(int) % _TILE
        columns = (self._xs[where[1]] * 1.1).astype(int) % _TILE
        grain = self._fine_texture[int(z * 0.9) % _TILE][np.ix_(rows, columns)]
        self._cover(part, distance + np.float32(cortex_mm), (SPONGY + 55.0 * grain) * factor)
        # The blur of the scan carries bone about this far.
        structures[where][distance < BONE_RIM_MM] = Structure.BONE

    def _paint_vertebra(self, hu: FloatImage, structures: StructureImage, z: float) -> None:
        window, anatomy = self._spine, self._anatomy
        part = hu[window.where]
        if 0 in part.shape:
            return
        px, py = anatomy.unroll(window.x, window.y)
        py = py - np.float32(spine_offset(z))
        phase = (z - anatomy.skeleton.vertebra_phase_mm) % VERTEBRA_PITCH_MM
        from_disc = min(phase, VERTEBRA_PITCH_MM - phase)
        flare = 2.0 * np.clip(1.0 - (from_disc - 0.5 * DISC_MM) / 7.0, 0.0, 1.0)
        body = superellipse_distance(px, py, 17.0 + flare, 15.0 + 0.7 * flare, 2.3)
        canal = np.asarray(np.hypot(px / 1.08, py - 22.5) - 8.3, dtype=np.float32)
        body = np.maximum(body, -canal + 1.0)
        back = np.asarray(np.hypot(px, py - 30.0) - 17.0, dtype=np.float32)
        self._cover(part, back, anatomy.settings.muscle_hu)
        if from_disc < 0.5 * DISC_MM:
            self._cover(part, body, DISC)
        else:
            # Close to the disc the plane runs within the end plate.
            plate = 0.5 * DISC_MM + 1.2 - from_disc
            shell = 1.1 + max(0.0, 8.0 * plate)
            self._paint_bone(hu, structures, body, window.where, cortex_mm=shell, z=z)
        ring = np.hypot(px / 1.08, py - 22.5) - 13.0
        if from_disc < 8.0:
            ring = np.maximum(ring, 26.0 - py)
        else:
            ring = np.maximum(ring, 8.0 - py)
            along = np.clip((np.abs(px) - 10.0) / 20.0, 0.0, 1.0)
            ring = np.minimum(
                ring, np.hypot(np.abs(px) - 10.0 - 20.0 * along, py - 25.0 - 9.0 * along) - 4.2
            )
        spine_end = np.clip(py, 32.0, 34.0 + 18.0 * abs(np.cos(np.pi * phase / VERTEBRA_PITCH_MM)))
        ring = np.minimum(ring, np.hypot(px, py - spine_end) - 3.4)
        ring = np.maximum(ring, -canal)
        ring = np.asarray(ring, dtype=np.float32)
        self._paint_bone(hu, structures, ring, window.where, cortex_mm=1.7, z=z)
        self._cover(part, canal, CANAL)
        structures[window.where][canal < 0.0] = Structure.NONE

    def _paint_metal(self, hu: FloatImage, structures: StructureImage, z: float) -> None:
        near = self._distance_to(self._metal, z, 2.0)
        if near is not None:
            self._cover(hu[near[1]], near[0], METAL)
            structures[near[1]][near[0] < 1.0] = Structure.METAL
