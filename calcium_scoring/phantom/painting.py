"""From anatomy to thin planes of Hounsfield values, before the scanner's blur."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from calcium_scoring.phantom.abdomen import Organ
from calcium_scoring.phantom.acquisition import FloatImage, Scanner
from calcium_scoring.phantom.anatomy import Anatomy
from calcium_scoring.phantom.cage import dome_height, spine_offset
from calcium_scoring.phantom.canvas import Canvas, CoarseGrid, Pixels, Where
from calcium_scoring.phantom.chest_wall import WallFields
from calcium_scoring.phantom.heart import HeartFields
from calcium_scoring.phantom.random_fields import NoiseField
from calcium_scoring.phantom.scan_table import ScanTable
from calcium_scoring.phantom.shapes import FAR_MM, Distance, Segments, smooth_max
from calcium_scoring.phantom.structures import Structure
from calcium_scoring.phantom.vertebrae import VERTEBRA_BOX_MM, VertebraShape, vertebra_shape

AIR: Final = -1000.0
BONE_RIM_MM: Final = 1.0
"""The blur of the scan carries bone about this far."""
_BODY_PITCH_MM: Final = 3.2
_HEART_PITCH_MM: Final = 2.3
_HEART_BOX: Final = ((-112.0, 140.0), (-165.0, 45.0))
_GRAIN_TILE: Final = 96
_GRAIN_PITCH_MM: Final = 0.9
_CLEFT_MM: Final = 1.1
"""Fat between two muscles."""
_MALE_GLAND: Final = 0.2
_NEAR_DOME_MM: Final = 3.0

StructureImage: TypeAlias = NDArray[np.uint8]
HeartImage: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Textures:
    """Random images of one plane, and what fat and muscle look like with them."""

    slow: Distance
    medium: Distance
    fine: Distance
    fat: Distance
    muscle: Distance


class PlanePainter:
    """Paints planes of one patient on the pixels of one scan."""

    def __init__(self, anatomy: Anatomy, scanner: Scanner) -> None:
        self._anatomy = anatomy
        self._scanner = scanner
        self._scale = anatomy.settings.body_scale
        size = scanner.settings.matrix_size
        pixel = scanner.settings.pixel_spacing_mm
        xs = ((scanner.origin[0] + np.arange(size) * pixel) / self._scale).astype(np.float32)
        ys = ((scanner.origin[1] + np.arange(size) * pixel) / self._scale).astype(np.float32)
        self._canvas = Canvas(xs, ys, AIR)
        self._body = CoarseGrid.over(xs, ys, ((-1e4, 1e4), (-1e4, 1e4)), _BODY_PITCH_MM)
        self._heart = CoarseGrid.over(xs, ys, _HEART_BOX, _HEART_PITCH_MM)
        self._body_warp = anatomy.warp.on(self._body.x, self._body.y)
        self._heart_warp = anatomy.warp.on(self._heart.x, self._heart.y)
        skeleton = anatomy.skeleton
        mediastinum = anatomy.mediastinum
        self._lung_vessels = Segments.of(anatomy.lungs.vessels)
        self._airways = Segments.of(anatomy.airways)
        self._bronchi = Segments.of(anatomy.lungs.bronchi)
        arteries = [branch.lumen for branch in anatomy.coronaries.branches]
        self._coronaries = Segments.of([*arteries, *anatomy.coronaries.veins])
        self._nodes = Segments.of(mediastinum.nodes)
        self._swallowed_air = Segments.of(mediastinum.swallowed_air)
        self._small_vessels = Segments.of([*mediastinum.neck_vessels, *anatomy.abdominal_arteries])
        self._cartilages = Segments.of(skeleton.costal_cartilages)
        self._bones = (
            (Segments.of(skeleton.ribs), 0.9),
            (Segments.of(skeleton.sternum), 0.8),
            (Segments.of(skeleton.shoulder_bones), 1.4),
            (Segments.of(skeleton.scapulae), 3.0),
        )
        rng = np.random.default_rng(anatomy.texture_seed)
        # Nothing of the table changes along it.
        self._empty_structures = np.zeros(self._canvas.hu.shape, dtype=np.uint8)
        ScanTable.draw(anatomy.settings, rng).paint(self._canvas, self._empty_structures)
        self._empty = self._canvas.hu
        self._slow = NoiseField.draw(rng, float(rng.uniform(11.0, 20.0))).on(xs, ys)
        self._medium = NoiseField.draw(rng, float(rng.uniform(4.5, 8.0)), 40).on(xs, ys)
        self._fine = NoiseField.draw(rng, 2.2, 64).on(xs, ys)
        self._grain = rng.standard_normal((_GRAIN_TILE,) * 3, dtype=np.float32)

    def plane(self, plane_index: int) -> tuple[FloatImage, StructureImage, HeartImage]:
        """Return HU, structure labels and the inside of the pericardial sac of a plane.

        Plane ``plane_index`` lies so many pitches above the first slice.
        """
        z = (self._scanner.origin[2] + plane_index * self._scanner.plane_pitch_mm) / self._scale
        canvas = self._canvas
        canvas.begin(self._empty)
        structures = self._empty_structures.copy()
        heart = np.zeros(canvas.hu.shape, dtype=np.bool_)
        textures = self._textures(z)
        px, py = self._anatomy.unroll(*self._body_warp.ideal(z))
        fields = self._anatomy.wall.fields(px, py, self._body.x, self._body.y, z)
        self._paint_wall(fields, textures, z)
        self._paint_abdomen(fields, textures, px, py, z)
        self._paint_chest(fields, textures, heart, z)
        self._paint_tubes(self._small_vessels, z, self._anatomy.settings.blood_hu)
        self._paint_airways(z)
        self._paint_skeleton(structures, textures, z)
        return canvas.hu, structures, heart

    def _textures(self, z: float) -> _Textures:
        tissues, settings = self._anatomy.tissues, self._anatomy.settings
        slow, medium, fine = self._slow.plane(z), self._medium.plane(z), self._fine.plane(z)
        strands = np.clip(1.0 - 7.0 * np.abs(medium + 0.25 * fine), 0.0, 1.0)
        fat = np.float32(tissues.fat) + np.float32(tissues.unevenness) * slow
        fat += np.float32(tissues.fat_strands) * strands
        muscle = np.float32(settings.muscle_hu) + np.float32(tissues.unevenness) * (slow + fine)
        streaks = np.clip(
            medium + 0.6 * fine - np.float32(2.4 - 2.6 * tissues.muscle_fat), 0.0, 0.8
        )
        muscle -= np.float32(110.0) * streaks
        return _Textures(slow, medium, fine, fat, muscle)

    def _paint_wall(self, fields: WallFields, textures: _Textures, z: float) -> None:
        """Paint skin, fat and muscles, and the inside of the rib cage as fat."""
        canvas, grid, tissues = self._canvas, self._body, self._anatomy.tissues
        where = grid.box_of(fields.body < canvas.pixel_mm)
        if where is None:
            return
        body = grid.enlarged(fields.body, where)
        canvas.cover(where, body, tissues.skin)
        canvas.cover(where, body + np.float32(tissues.skin_mm), textures.fat)
        inner = grid.box_of(fields.layer < canvas.pixel_mm)
        if inner is not None:
            self._paint_layer(fields, textures, inner)
        canvas.cover_coarse(grid, fields.cage, textures.fat, grown=-1.0)
        for muscle in (*fields.muscles, *self._anatomy.wall.round_muscles(grid.x, grid.y, z)):
            canvas.cover_coarse(grid, muscle, textures.fat, grown=_CLEFT_MM)
            canvas.cover_coarse(grid, muscle, textures.muscle)
        self._paint_glands(fields, textures)

    def _paint_layer(self, fields: WallFields, textures: _Textures, where: Where) -> None:
        """Paint the muscle on the ribs, with sheets of fat that come and go."""
        canvas, grid = self._canvas, self._body
        depth = grid.enlarged(fields.cage, where)
        depth += np.float32(0.8) * textures.medium[where]
        # Fat between the layers, which comes and goes.
        cleft = np.float32(0.35) + np.float32(0.9) * textures.slow[where]
        muscle = canvas.share(grid.enlarged(fields.layer, where))
        for thickness in fields.layers[:-1]:
            depth -= grid.enlarged(thickness, where)
            muscle *= 1.0 - canvas.share(np.abs(depth) - cleft)
        canvas.blend(where, muscle, textures.muscle)

    def _paint_glands(self, fields: WallFields, textures: _Textures) -> None:
        canvas, grid = self._canvas, self._body
        where = grid.box_of(np.maximum(fields.breasts, -fields.layer) < 0.0)
        if where is None:
            return
        inside = grid.enlarged(np.maximum(fields.breasts + 9.0, -fields.layer + 3.0), where)
        share_of_gland = self._anatomy.tissues.gland_share
        if self._anatomy.settings.sex == "male":
            share_of_gland *= _MALE_GLAND
        threshold = np.float32(1.8 - 3.0 * share_of_gland)
        gland = textures.medium[where] + 0.7 * textures.slow[where] + 0.4 * textures.fine[where]
        share = np.clip(1.6 * (gland - threshold), 0.0, 1.0) * canvas.share(inside)
        canvas.blend(where, share, 32.0)

    def _paint_abdomen(
        self, fields: WallFields, textures: _Textures, px: Distance, py: Distance, z: float
    ) -> None:
        """Paint what lies below the diaphragm, and the thyroid."""
        canvas, grid, anatomy = self._canvas, self._body, self._anatomy
        if anatomy.abdomen.thyroid.reaches(z):
            thyroid = anatomy.abdomen.thyroid
            canvas.cover_coarse(grid, thyroid.distance(px, py, z), thyroid.hu)
        below = np.maximum(fields.cage + 2.0, fields.dome + 1.0)
        if not (below < _NEAR_DOME_MM).any():
            return
        # The diaphragm is a thin muscle over the organs.
        canvas.cover_coarse(grid, below, textures.muscle, grown=2.0)
        canvas.cover_coarse(grid, below, textures.fat)
        for organ in anatomy.abdomen.organs:
            if organ.reaches(z):
                self._paint_organ(organ, _organ_distance(organ, px, py, z, below), textures, py)

    def _paint_organ(
        self, organ: Organ, inside: Distance, textures: _Textures, py: Distance
    ) -> None:
        canvas, grid = self._canvas, self._body
        where = grid.box_of(inside < canvas.pixel_mm)
        if where is None:
            return
        there = canvas.absolute(grid, where)
        distance = grid.enlarged(inside, where)
        canvas.cover(there, distance - np.float32(_CLEFT_MM), textures.fat)
        uneven = np.float32(self._anatomy.tissues.unevenness)
        hu = np.float32(organ.hu) + uneven * (
            0.8 * textures.slow[there] + 0.6 * textures.fine[there]
        )
        canvas.hu[there] += canvas.share(distance) * (hu - canvas.hu[there])
        if organ.content == "kidney":
            # The renal sinus: fat in the middle.
            canvas.cover(
                there, distance + np.float32(15.0) + 3.0 * textures.medium[there], textures.fat
            )
        elif organ.content == "hollow":
            lumen = distance + np.float32(organ.wall_mm)
            content = np.float32(organ.content_hu) + 8.0 * textures.medium[there]
            canvas.hu[there] += canvas.share(lumen) * (content - canvas.hu[there])
            self._paint_gas(organ, lumen, there, where, py)

    def _paint_gas(
        self, organ: Organ, lumen: Distance, there: Where, where: Where, py: Distance
    ) -> None:
        """Paint the gas that collects where the patient is uppermost."""
        if organ.fill >= 1.0:
            return
        down = -1.0 if self._anatomy.settings.is_prone else 1.0
        heights = [float(part.centre[1]) for part in organ.parts]
        depth = max(part.radii[1] for part in organ.parts)
        level = down * float(np.mean(heights)) + depth * (1.0 - 2.0 * organ.fill)
        surface = self._body.enlarged(np.float32(down) * py - np.float32(level), where)
        self._canvas.cover(there, np.maximum(lumen, surface), -960.0)

    def _paint_chest(
        self, fields: WallFields, textures: _Textures, heart: HeartImage, z: float
    ) -> None:
        """Paint lungs and mediastinum."""
        canvas, grid, anatomy = self._canvas, self._body, self._anatomy
        lung = smooth_max(fields.cage + np.float32(1.5), -fields.dome, 4.0)
        lung = smooth_max(lung, -fields.spine_region, 4.0)
        lung = smooth_max(lung, -fields.apex, 4.0)
        where = grid.box_of(lung < canvas.pixel_mm)
        middle = self._heart
        if middle.is_empty:
            parts = None
        else:
            px, py = anatomy.unroll(*self._heart_warp.ideal(z))
            parts = anatomy.mediastinum.fields(px, py, middle.x, middle.y, z)
        if where is not None:
            distance = grid.enlarged(lung)
            if parts is not None:
                hull = middle.enlarged(parts.hull)
                np.maximum(distance[middle.where], -hull, out=distance[middle.where])
            self._paint_lungs(distance, where, textures)
            self._paint_tubes(self._lung_vessels, z, anatomy.settings.blood_hu)
        if parts is None:
            return
        tissues, settings = anatomy.tissues, anatomy.settings
        # Below the diaphragm only the pericardial sac displaces what is there.
        above = z - dome_height(px, py, anatomy.dome_heights)
        canvas.cover_coarse(middle, np.maximum(parts.hull, -above), textures.fat)
        self._paint_tubes(self._nodes, z, tissues.node)
        blood = np.float32(settings.blood_hu) + np.float32(0.5 * tissues.unevenness) * textures.slow
        if (parts.sac < tissues.pericardium_mm + canvas.pixel_mm).any():
            self._paint_heart(parts, blood, textures, heart)
            self._paint_grooves(parts.sac, textures, z)
        canvas.cover_coarse(middle, parts.vessels, tissues.vessel_wall)
        canvas.cover_coarse(middle, parts.vessels, blood, grown=-1.5)
        canvas.cover_coarse(middle, parts.oesophagus, tissues.oesophagus)
        self._paint_tubes(self._swallowed_air, z, -900.0)
        self._paint_tubes(self._coronaries, z, settings.blood_hu + 3.0)

    def _paint_heart(
        self, parts: HeartFields, blood: Distance, textures: _Textures, heart: HeartImage
    ) -> None:
        """Paint the pericardial sac with fat and chambers, and note where it is."""
        canvas, middle, settings = self._canvas, self._heart, self._anatomy.settings
        half = 0.5 * self._anatomy.tissues.pericardium_mm
        # The pericardium is seen in some places and lost in others.
        seen = np.clip(0.5 + 0.7 * textures.slow + 0.3 * textures.medium, 0.0, 1.0)
        line = np.asarray(textures.fat + np.float32(115.0) * seen, dtype=np.float32)
        canvas.cover_coarse(middle, parts.sac, line, grown=half)
        canvas.cover_coarse(middle, parts.sac, textures.fat, grown=-half)
        canvas.cover_coarse(middle, parts.chambers, blood + np.float32(2.0))
        # Heart muscle differs little from blood, and fat does not streak it.
        muscle = blood + np.float32(settings.muscle_hu - settings.blood_hu)
        canvas.cover_coarse(middle, np.maximum(parts.ventricle, parts.chambers), muscle)
        canvas.cover_coarse(middle, np.maximum(parts.cavity, parts.chambers), blood)
        inside = middle.box_of(parts.sac < 0.0)
        if inside is not None:
            heart[canvas.absolute(middle, inside)] = middle.enlarged(parts.sac, inside) < 0.0

    def _paint_grooves(self, sac: Distance, textures: _Textures, z: float) -> None:
        """Paint the fat round the arteries, as wedges that are open to the outside.

        Pixel by pixel, since on the coarse grid they would be as square as its meshes.
        """
        canvas, mediastinum = self._canvas, self._anatomy.mediastinum
        near = canvas.near(mediastinum.grooves, z, 0.0)
        if near is None:
            return
        pixels, distance = near
        depth = np.full(canvas.hu.shape, -FAR_MM, dtype=np.float32)
        depth[self._heart.where] = -self._heart.enlarged(sac)
        below = depth.reshape(-1)[pixels]
        wedge = smooth_max(distance, below - np.float32(mediastinum.groove_mm), 4.0)
        wedge = np.maximum(wedge, -below)
        canvas.cover_pixels(pixels, wedge, textures.fat.reshape(-1)[pixels])

    def _paint_lungs(self, lung: Distance, where: Where, textures: _Textures) -> None:
        canvas, anatomy = self._canvas, self._anatomy
        tissues, settings = anatomy.tissues, anatomy.settings
        down = np.float32(-1.0 if settings.is_prone else 1.0)
        y = canvas.ys[where[0], np.newaxis]
        depth = np.clip((down * y + np.float32(40.0 * down)) / np.float32(90.0), -1.0, 1.0)
        slow, fine = textures.slow[where], textures.fine[where]
        density = np.float32(settings.lung_hu) + np.float32(tissues.lung_slope) * depth
        density = density + np.float32(14.0) * slow + np.float32(tissues.lung_grain) * fine
        if tissues.emphysema:
            holes = textures.medium[where] + 0.5 * slow - np.float32(1.6 - 1.3 * tissues.emphysema)
            density -= np.float32(90.0) * np.clip(2.0 * holes, 0.0, 1.0)
            np.maximum(density, -985.0, out=density)
        lung = lung[where]
        canvas.hu[where] += canvas.share(lung) * (density - canvas.hu[where])
        self._paint_effusion(lung, where, y * down, textures)

    def _paint_effusion(
        self, lung: Distance, where: Where, depth: Distance, textures: _Textures
    ) -> None:
        """Paint fluid at the lowest place of the pleural space, and the lung that it presses."""
        canvas = self._canvas
        x = canvas.xs[np.newaxis, where[1]]
        for side, height in zip((-1.0, 1.0), self._anatomy.tissues.effusion_mm, strict=True):
            if not height:
                continue
            deepest = 50.0 if not self._anatomy.settings.is_prone else 125.0
            surface = np.float32(deepest - height) - depth + np.float32(2.0) * textures.slow[where]
            surface = surface + np.float32(0.0012) * np.square(np.abs(x) - np.float32(110.0))
            one_side = np.maximum(lung, -np.float32(side) * x)
            canvas.cover(where, np.maximum(one_side, surface - np.float32(0.35 * height)), 25.0)
            canvas.cover(where, np.maximum(one_side, surface), 8.0)

    def _paint_airways(self, z: float) -> None:
        for segments, wall in ((self._airways, 1.0), (self._bronchi, 0.35)):
            near = self._canvas.near(segments, z, wall)
            if near is not None:
                pixels, distance = near
                self._canvas.cover_pixels(pixels, distance - np.float32(wall), 0.0)
                self._canvas.cover_pixels(pixels, distance + np.float32(0.3), -985.0)

    def _paint_tubes(self, segments: Segments, z: float, value: float) -> None:
        near = self._canvas.near(segments, z, 0.0)
        if near is not None:
            self._canvas.cover_pixels(*near, value)

    def _paint_skeleton(self, structures: StructureImage, textures: _Textures, z: float) -> None:
        tissues = self._anatomy.tissues
        near = self._canvas.near(self._cartilages, z, 0.0)
        if near is not None:
            pixels, distance = near
            grain = self._grain_at(pixels, z)
            self._canvas.cover_pixels(pixels, distance, np.float32(tissues.cartilage) + 6.0 * grain)
        for bones, shell in self._bones:
            near = self._canvas.near(bones, z, BONE_RIM_MM)
            if near is not None:
                self._paint_bone(
                    structures, textures, *near, cortex_mm=shell * tissues.cortex_mm, z=z
                )
        self._paint_vertebra(structures, textures, z)

    def _grain_at(self, pixels: Pixels, z: float) -> Distance:
        """Return white noise of bone's trabeculae, alike within less than a millimetre."""
        rows, columns = np.divmod(pixels, len(self._canvas.xs))
        row = (self._canvas.ys[rows] / _GRAIN_PITCH_MM).astype(np.intp) % _GRAIN_TILE
        column = (self._canvas.xs[columns] / _GRAIN_PITCH_MM).astype(np.intp) % _GRAIN_TILE
        result: Distance = self._grain[int(z / _GRAIN_PITCH_MM) % _GRAIN_TILE, row, column]
        return result

    def _paint_bone(
        self,
        structures: StructureImage,
        textures: _Textures,
        pixels: Pixels,
        distance: Distance,
        *,
        cortex_mm: float,
        z: float,
        density: float = 1.0,
    ) -> None:
        """Paint cortex, and spongy bone that is denser here than there, with a rare dense spot."""
        tissues = self._anatomy.tissues
        grain = self._grain_at(pixels, z)
        slow = textures.slow.reshape(-1)[pixels]
        spots = np.clip(textures.medium.reshape(-1)[pixels] - np.float32(2.7), 0.0, 0.5)
        self._canvas.cover_pixels(
            pixels, distance, np.float32(tissues.cortex) * (1.0 + 0.12 * grain)
        )
        spongy = np.float32(density * tissues.spongy) * (1.0 + np.float32(0.15) * slow)
        spongy += np.float32(tissues.trabeculae) * grain + np.float32(900.0) * spots
        self._canvas.cover_pixels(pixels, distance + np.float32(cortex_mm), spongy)
        structures.reshape(-1)[pixels[distance < BONE_RIM_MM]] = Structure.BONE

    def _paint_vertebra(self, structures: StructureImage, textures: _Textures, z: float) -> None:
        canvas, anatomy = self._canvas, self._anatomy
        vertebra = next(
            (v for v in anatomy.skeleton.vertebrae if v.bottom_mm <= z < v.top_mm), None
        )
        if vertebra is None:
            return
        centre = anatomy.place(np.array([0.0, spine_offset(z), z]))
        (left, right), (front, back) = (np.array(span) * vertebra.scale for span in VERTEBRA_BOX_MM)
        columns = slice(*np.searchsorted(canvas.xs, centre[0] + [left, right]).tolist())
        rows = slice(*np.searchsorted(canvas.ys, centre[1] + [front, back]).tolist())
        x, y = canvas.xs[np.newaxis, columns], canvas.ys[rows, np.newaxis]
        if 0 in (x.size, y.size):
            return
        px, py = anatomy.unroll(x - np.float32(centre[0]), y - np.float32(centre[1]))
        shape: VertebraShape = vertebra_shape(vertebra, px, py, z)
        where = (rows, columns)
        index = np.arange(canvas.hu.size).reshape(canvas.hu.shape)[where]
        tissues = anatomy.tissues
        canvas.cover(where, shape.flesh, anatomy.settings.muscle_hu)
        if shape.is_disc:
            canvas.cover(where, shape.body, tissues.disc)
        for distance, cortex, is_bone in (
            (shape.body, shape.cortex_mm * tissues.cortex_mm, not shape.is_disc),
            (shape.spurs, 2.0, shape.spurs is not None),
            (shape.arch, 1.5 * tissues.cortex_mm, True),
        ):
            if is_bone and distance is not None:
                near = distance < 1.5
                self._paint_bone(
                    structures, textures, index[near], distance[near], cortex_mm=cortex, z=z,
                    density=vertebra.density,
                )  # fmt: skip
        canvas.cover(where, shape.canal, tissues.canal)
        structures[where][shape.canal < 0.0] = Structure.NONE


def _organ_distance(
    organ: Organ, px: Distance, py: Distance, z: float, below: Distance
) -> Distance:
    """Return the distance to the part of an organ below the diaphragm, in the box around it."""
    distance = np.full_like(below, FAR_MM)
    inside = np.zeros(below.shape, dtype=np.bool_)
    for part in organ.parts:
        reach = max(part.radii) + 6.0
        inside |= (np.abs(px - np.float32(part.centre[0])) < reach) & (
            np.abs(py - np.float32(part.centre[1])) < reach
        )
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if rows.size:
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        distance[box] = smooth_max(organ.distance(px[box], py[box], z), below[box] + 1.0, 4.0)
    return distance
