"""Coded concepts: the only place where words of the glossary become DICOM codes.

All are in the dictionaries of PS3.16 as pydicom carries them (SCT: SNOMED CT, DCM: PS3.16 D).
"""

from __future__ import annotations

from typing import Final

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from calcium_scoring.volume.label_map import CORONARY, Artery

CORONARY_ARTERY: Final = Code("41801008", "SCT", "Coronary artery")

ANATOMY_OF_LABEL: Final[dict[int, Code]] = {
    Artery.LM: Code("3227004", "SCT", "Left Main Coronary Artery"),
    Artery.LAD: Code("59438005", "SCT", "Left Anterior Descending Coronary Artery"),
    Artery.LCX: Code("57396003", "SCT", "Circumflex Coronary Artery"),
    Artery.RCA: Code("13647002", "SCT", "Right Coronary Artery"),
    CORONARY: CORONARY_ARTERY,
}
"""Where the calcium of a label lies."""

LABEL_OF_ANATOMY: Final = {code.value: label for label, code in ANATOMY_OF_LABEL.items()}

MORPHOLOGICALLY_ABNORMAL_STRUCTURE: Final = codes.SCT.MorphologicallyAbnormalStructure
CALCIFIED_PLAQUE: Final = Code("29483008", "SCT", "Calcified atheromatous plaque")

CALCIUM_TYPES: Final = frozenset(
    {
        CALCIFIED_PLAQUE.value,
        "237897009",  # vascular calcification
        "129759000",  # vascular calcification, as a radiographic finding
        "54650002",  # calcification
    }
)
"""Segmented property types by which a mask of someone else says that it marks calcium."""

ARTIFICIAL_INTELLIGENCE: Final = codes.DCM.ArtificialIntelligence
