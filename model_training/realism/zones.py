"""Where in a section a voxel lies, found in the same way in real and in simulated scans."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import convex_hull_image

from model_training.realism.scans import AIR_HU, Level, Slab

Mask: TypeAlias = NDArray[np.bool_]
HuImage: TypeAlias = NDArray[np.float32]

BODY_HU: Final = -300.0
LUNG_HU: Final = -500.0
BONE_HU: Final = 180.0
"""Voxels above it are bone if they make up ``SMALLEST_BONE_MM2``. All limits are our choice."""
SMALLEST_BONE_MM2: Final = 30.0
SMALLEST_LUNG_MM2: Final = 300.0
WALL_MM: Final = 30.0
"""Depth of the wall of the abdomen, where no lungs show the inside of the cage."""
SMALLEST_CHEST_MM2: Final = 5000.0
"""Area of both lungs from which their hull is taken as the inside of the cage."""
OPENING_MM: Final = 5.0
"""Vessels of the lung that are thinner than twice this belong to the lung."""


class Zone(IntEnum):
    """Parts of a section."""

    OUTSIDE = 0
    WALL = 1
    """Skin, fat and muscle around the cage."""
    LUNG = 2
    BONE = 3
    HEART = 4
    """What lies between the lungs at the levels of the heart."""
    MEDIASTINUM = 5
    """What lies between the lungs above the heart."""
    ABDOMEN = 6


MEASURED_ZONES: Final = (
    Zone.HEART, Zone.MEDIASTINUM, Zone.LUNG, Zone.BONE, Zone.ABDOMEN, Zone.WALL,
)  # fmt: skip


def zone_map(slab: Slab) -> NDArray[np.uint8]:
    """Return the zone of every voxel of a slab, found on pixels of twice the size."""
    rows, columns = slab.hu.shape[1:]
    coarse = slab.hu[:, : rows - rows % 2, : columns - columns % 2]
    coarse = coarse.reshape(len(coarse), rows // 2, 2, columns // 2, 2).mean(axis=(2, 4))
    zones = np.zeros(slab.hu.shape, dtype=np.uint8)
    for index, image in enumerate(coarse):
        found = _zones_of(image, slab.level, 2.0 * slab.pixel_mm)
        zones[index, : 2 * (rows // 2), : 2 * (columns // 2)] = found.repeat(2, 0).repeat(2, 1)
    return zones


def _zones_of(image: HuImage, level: Level, pixel_mm: float) -> NDArray[np.uint8]:
    zones = np.zeros(image.shape, dtype=np.uint8)
    body = body_of(image, pixel_mm)
    if not body.any():
        return zones
    lungs = _large(body & (image < LUNG_HU), SMALLEST_LUNG_MM2 / pixel_mm**2)
    smooth = ndimage.gaussian_filter(image, 0.7 / pixel_mm)
    bone = _large(body & (smooth >= BONE_HU), SMALLEST_BONE_MM2 / pixel_mm**2)
    bone = ndimage.binary_fill_holes(_grown(bone, 2.0 / pixel_mm)) & body
    zones[body] = Zone.WALL
    if level.crosses_abdomen:
        zones[shrunk(body, WALL_MM / pixel_mm)] = Zone.ABDOMEN
    elif lungs.sum() * pixel_mm**2 >= SMALLEST_CHEST_MM2:
        hull: Mask = convex_hull_image(lungs)  # type: ignore[no-untyped-call]
        inside = hull & body
        solid = _opened(inside & ~lungs & ~bone, OPENING_MM / pixel_mm)
        zones[inside] = Zone.LUNG
        zones[solid] = Zone.HEART if level.crosses_heart else Zone.MEDIASTINUM
    zones[lungs] = Zone.LUNG
    zones[bone] = Zone.BONE
    return zones


def body_of(image: HuImage, pixel_mm: float) -> Mask:
    """Return the body of a section without table, clothes and lines, its hollows filled."""
    dense = _opened(image > BODY_HU, 2.0 / pixel_mm)
    labels, count = ndimage.label(dense)
    if not count:
        return dense
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest = labels == int(sizes.argmax())
    return np.asarray(ndimage.binary_fill_holes(largest), dtype=bool) & (image >= AIR_HU)


def _large(mask: Mask, least_pixels: float) -> Mask:
    labels, count = ndimage.label(mask, structure=np.ones((3, 3), dtype=bool))
    if not count:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= least_pixels)[labels], dtype=bool)


def _grown(mask: Mask, radius: float) -> Mask:
    if not mask.any():
        return mask  # the distance to nothing is not defined
    return np.asarray(ndimage.distance_transform_edt(~mask) <= radius, dtype=bool)


def shrunk(mask: Mask, radius: float) -> Mask:
    """Return what is farther than ``radius`` pixels from the edge of a mask."""
    if mask.all():
        return mask
    return np.asarray(ndimage.distance_transform_edt(mask) > radius, dtype=bool)


def _opened(mask: Mask, radius: float) -> Mask:
    return _grown(shrunk(mask, radius), radius) & mask
