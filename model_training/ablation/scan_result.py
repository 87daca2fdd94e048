"""One scan in the ablation: scored as the network leaves it, and with the paper's post-processing.

Paper, 2.5: the output is cut at a probability of 0.5; then voxels below 130 HU are removed and
connected components are formed. Without that step every voxel above 0.5 counts for the area of its
lesion, whatever its HU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from calcium_scoring.model_input.segmentation import CalciumModel, HeartModel, segment_scan
from calcium_scoring.model_input.spec import ModelSpec
from calcium_scoring.model_input.tiling import PredictPatch
from calcium_scoring.scoring.categories import risk_category
from calcium_scoring.scoring.protocol import LITERATURE, ScoringProtocol
from calcium_scoring.scoring.report import measure_calcium
from calcium_scoring.volume.label_map import BACKGROUND, LabelMap
from model_training.cases import TrainingCase
from model_training.metrics import VoxelCounts

LOWEST_HU: Final = float(np.iinfo(np.int16).min)
"""No voxel is below it: a threshold that removes nothing."""

UNFILTERED: Final = ScoringProtocol(
    name="without post-processing", threshold_hu=LOWEST_HU, min_lesion_area_mm2=0.0
)
"""Every marked voxel counts; a lesion whose peak is below 130 HU still has the weight 0."""


@dataclass(frozen=True)
class ScanResult:
    """Voxels with post-processing, and the scores of reference and network."""

    case_id: str
    voxels: VoxelCounts
    reference_agatston_score: float
    unfiltered_agatston_score: float
    agatston_score: float

    @property
    def is_right_unfiltered(self) -> bool:
        """Whether the risk category is right without post-processing."""
        return risk_category(self.unfiltered_agatston_score) == risk_category(
            self.reference_agatston_score
        )

    @property
    def is_right(self) -> bool:
        """Whether the risk category is right with post-processing."""
        return risk_category(self.agatston_score) == risk_category(self.reference_agatston_score)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ScanResult:
        """Return what :meth:`as_dict` was made from."""
        return cls(**{**values, "voxels": VoxelCounts(**values["voxels"])})


def scan_result(
    case: TrainingCase, spec: ModelSpec, predict_patch: PredictPatch, heart: HeartModel | None
) -> ScanResult:
    """Run a network over a scan once and score it both ways.

    ``heart`` finds the region in which the network's word counts; None looks everywhere, as the
    paper does.
    """
    volume, reference = case.load_volume(), case.load_reference_label_map()
    everywhere = CalciumModel(replace(spec, threshold_hu=LOWEST_HU), predict_patch, heart)
    unfiltered = segment_scan(volume, everywhere).label_map
    dense = volume.hu >= LITERATURE.threshold_hu
    filtered = LabelMap(
        volume.geometry, np.where(dense, unfiltered.labels, BACKGROUND).astype(np.uint8)
    )

    def score(labels: LabelMap, protocol: ScoringProtocol) -> float:
        report = measure_calcium(volume, labels, protocol=protocol, has_artery_labels=False)
        return report.total.agatston_score

    return ScanResult(
        case_id=case.case_id,
        voxels=VoxelCounts.of(filtered.calcium_mask, reference.calcium_mask & dense),
        reference_agatston_score=score(reference, LITERATURE),
        unfiltered_agatston_score=score(unfiltered, UNFILTERED),
        agatston_score=score(filtered, LITERATURE),
    )
