"""Labels of what is dense but not coronary calcium; values of ``PhantomPatient.structures``."""

from __future__ import annotations

from enum import IntEnum


class Structure(IntEnum):
    """What a voxel shows besides soft tissue; a higher value wins where two meet."""

    NONE = 0
    BONE = 1
    TABLE = 2
    COSTAL_CARTILAGE_CALCIUM = 3
    BRONCHIAL_CARTILAGE = 4
    NODE_CALCIUM = 5
    AORTIC_WALL_CALCIUM = 6
    AORTIC_VALVE_CALCIUM = 7
    MITRAL_ANNULUS_CALCIUM = 8
    METAL = 9
    PERICARDIAL_CALCIUM = 10
    STENT = 11
    VESSEL_WALL_CALCIUM = 12
    """Arteries of neck, arms and abdomen; the abdominal aorta is AORTIC_WALL_CALCIUM."""
    ORGAN_CALCIUM = 13
    """Granulomas of lung, liver and spleen, stones, thyroid."""
    ENTERIC_CONTRAST = 14
    """Bright content of stomach and bowel."""
