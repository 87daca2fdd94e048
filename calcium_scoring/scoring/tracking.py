"""Tracking UIDs: one name for a lesion, or an artery's calcium, in SEG, SR and JSON alike.

They follow from the series and from the voxels, and from nothing else: whoever measures the same
voxels of the same series, with whatever network, names the same lesion.
"""

from __future__ import annotations

import hashlib

import numpy as np

from calcium_scoring.scoring.lesions import Lesion
from calcium_scoring.volume.derived_uid import derived_uid


def lesion_tracking_uid(lesion: Lesion, series_instance_uid: str) -> str:
    """Return the UID of a lesion: of its voxels, its artery and its series."""
    voxels = hashlib.sha256()
    for part in lesion.slice_lesions:
        voxels.update(np.int32(part.slice_index).tobytes())
        voxels.update(part.pixels.astype("<i4").tobytes())
    artery = "" if lesion.artery is None else lesion.artery.name
    return derived_uid("lesion", series_instance_uid, artery, voxels.hexdigest())


def lesion_tracking_id(lesion: Lesion) -> str:
    """Return the name by which people call a lesion: its number, and its artery if known."""
    artery = "coronary" if lesion.artery is None else lesion.artery.name
    return f"Lesion {lesion.lesion_id} ({artery})"
