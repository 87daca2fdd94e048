"""Coded concepts: the only place where words of the glossary become DICOM codes.

All but those of our own scheme are in the dictionaries of PS3.16 as pydicom carries them (SCT:
SNOMED CT, DCM: PS3.16 D). The scores are those of TID 3905 (calcium scoring results of TID 3900).
"""

from __future__ import annotations

from typing import Final, TypeAlias

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from calcium_scoring.volume.label_map import CORONARY, Artery

CodedConcept: TypeAlias = Code
"""Value, scheme designator and meaning, for whoever must not know pydicom."""

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

CALCIUM_SCORE: Final = Code("112058", "DCM", "Calcium score")
CALCIUM_SCORE_FINDING: Final = Code("450360000", "SCT", "Coronary artery calcium score")
AGATSTON_METHOD: Final = Code("112055", "DCM", "Agatston scoring method")
AGATSTON_THRESHOLD: Final = Code("122657", "DCM", "Agatston Score Threshold")
CALCIUM_VOLUME: Final = Code("122660", "DCM", "Calcium Volume")
VOLUME_METHOD: Final = Code("112056", "DCM", "Volume scoring method")
CALCIUM_MASS: Final = Code("122661", "DCM", "Calcium Mass")
MASS_METHOD: Final = Code("112057", "DCM", "Mass scoring method")
LESION_COUNT: Final = Code("246206008", "SCT", "Number of lesions")
AREA: Final = Code("42798000", "SCT", "Area")
ATTENUATION: Final = Code("112031", "DCM", "Attenuation Coefficient")
MAXIMUM: Final = Code("56851009", "SCT", "Maximum")
MEAN: Final = Code("373098007", "SCT", "Mean")
CALCIUM_SCORING_CT: Final = Code("426005005", "SCT", "Cardiac CT for calcium scoring")
COMMENT: Final = Code("121106", "DCM", "Comment")
SUMMARY: Final = Code("121111", "DCM", "Summary")

NO_UNITS: Final = Code("1", "UCUM", "no units")
CUBIC_MILLIMETRES: Final = Code("mm3", "UCUM", "cubic millimeter")
SQUARE_MILLIMETRES: Final = Code("mm2", "UCUM", "square millimeter")
MILLIGRAMS: Final = Code("mg", "UCUM", "milligram")
HOUNSFIELD_UNITS: Final = Code("[hnsf'U]", "UCUM", "Hounsfield unit")

OWN_SCHEME: Final = "99CACSCORE"
"""For what no public scheme has a code for; 99 begins private designators (PS3.16 8)."""

CAC_DRS: Final = Code("CAC_DRS", OWN_SCHEME, "CAC-DRS")
RISK_CATEGORY: Final = Code("RISK_CATEGORY", OWN_SCHEME, "Agatston score category")
WARNING: Final = Code("WARNING", OWN_SCHEME, "Warning")
INTENDED_USE: Final = Code("INTENDED_USE", OWN_SCHEME, "Intended use")
PERCENTILE: Final = Code("PERCENTILE", OWN_SCHEME, "Percentile")
CONVENTIONS: Final = Code("CONVENTIONS", OWN_SCHEME, "Score under other conventions")
UNCERTAINTY: Final = Code("UNCERTAINTY", OWN_SCHEME, "Score of a repeat scan")
PROTOCOL: Final = Code("PROTOCOL", OWN_SCHEME, "Scoring protocol")
EVALUATIONS: Final = Code("C0034375", "UMLS", "Qualitative Evaluations")


def own_code(value: str, meaning: str) -> Code:
    """Return a value of our own scheme; Code Value has at most 16 characters."""
    return Code(value[:16], OWN_SCHEME, meaning[:64])
