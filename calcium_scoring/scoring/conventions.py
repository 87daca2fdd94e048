"""Conventions of calcium scoring as data: of vendors, of a challenge, of research code.

The same mask scores differently under each: connectivity changes a score by some 3 %, a peak
taken over the whole lesion by 3 to 11 %. The vendors' workstations are closed; their presets
are those with which the FQM authors emulate them (van Praagh et al., Med Phys 2021, doi
10.1002/mp.14912; code nwerf/FQM_Analysis, ``CACscore.m``), all four-connected. Research code is
reproduced in its lesion rule and its peak rule only: that it also rounds each lesion and takes
``SliceThickness`` for the distance between slices is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from calcium_scoring.scoring.protocol import LITERATURE, ScoringProtocol

ConventionName = Literal[
    "literature", "ge", "siemens", "philips", "canon", "orcascore", "ai_cac", "deepcac"
]

_FQM: Final = "van Praagh et al., Med Phys 2021, doi 10.1002/mp.14912 (nwerf/FQM_Analysis)"

GE: Final = ScoringProtocol(name="ge", in_plane_connectivity=4)
SIEMENS: Final = ScoringProtocol(name="siemens", in_plane_connectivity=4, min_lesion_area_mm2=0.0)
PHILIPS: Final = ScoringProtocol(name="philips", in_plane_connectivity=4, min_lesion_area_mm2=0.5)
CANON: Final = ScoringProtocol(
    name="canon", in_plane_connectivity=4, min_lesion_area_mm2=0.0, min_lesion_pixel_count=3
)
ORCASCORE: Final = ScoringProtocol(
    name="orcascore", min_lesion_area_mm2=0.0, is_threshold_inclusive=False, connectivity_3d=6
)
AI_CAC: Final = ScoringProtocol(
    name="ai_cac",
    min_lesion_area_mm2=0.0,
    min_lesion_pixel_count=2,
    connectivity_3d=6,
    peak_over="lesion",
)
DEEPCAC: Final = ScoringProtocol(name="deepcac", min_lesion_area_mm2=0.0, min_lesion_pixel_count=4)

CONVENTIONS: Final[Mapping[str, ScoringProtocol]] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (LITERATURE, GE, SIEMENS, PHILIPS, CANON, ORCASCORE, AI_CAC, DEEPCAC)
    }
)
"""Every named protocol; a report scores its lesions under all of them."""

CONVENTION_SOURCES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "literature": "Agatston et al., J Am Coll Cardiol 1990;15:827-832; eight-connected, as the "
        "published scores of the QRM phantom need it",
        "ge": f"{_FQM}; the preset that it also calls literature and TeraRecon",
        "siemens": _FQM,
        "philips": _FQM,
        "canon": _FQM,
        "orcascore": "orCaScore challenge: lesions across slices, of voxels above 130 HU. That "
        "each slice is weighed by its own peak is our choice: the challenge's rule was not found",
        "ai_cac": "Raffi-Hagopian/AI-CAC, processing.py: research code, for comparison",
        "deepcac": "AIM-Harvard/DeepCAC, run_step4_cac_scoring.py: research code, for comparison",
    }
)
"""Where each convention was read."""
