"""Agreement of a model with the reference on whole scans: voxels, scores and risk categories."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from calcium_scoring.model_input.spec import ModelSpec
from calcium_scoring.model_input.tiling import PredictPatch, segment_volume
from calcium_scoring.scoring.protocol import LITERATURE, ScoringProtocol
from calcium_scoring.scoring.report import measure_calcium
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.label_map import LabelMap
from model_training.cases import TrainingCase
from model_training.metrics import VoxelCounts


@dataclass(frozen=True)
class CaseAgreement:
    """What the model and the reference say of one scan."""

    case_id: str
    is_ecg_gated: bool | None
    spacing_between_slices_mm: float
    voxels: VoxelCounts
    reference_agatston_score: float
    agatston_score: float
    reference_risk_category: str
    risk_category: str

    @property
    def is_category_right(self) -> bool:
        """Whether both put the patient into the same risk category."""
        return self.risk_category == self.reference_risk_category


@dataclass(frozen=True)
class Agreement:
    """The scans of an evaluation, and what they amount to together."""

    model_version: str
    cases: tuple[CaseAgreement, ...]

    @property
    def voxels(self) -> VoxelCounts:
        """Voxels of all scans together, as the paper counts them."""
        return sum((case.voxels for case in self.cases), VoxelCounts(0, 0, 0))

    @property
    def category_accuracy(self) -> float:
        """Part of the patients whose risk category is right (the paper's "CAC filter rate")."""
        return sum(case.is_category_right for case in self.cases) / len(self.cases)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        voxels = self.voxels
        return {
            "model_version": self.model_version,
            "case_count": len(self.cases),
            "voxel_f1": voxels.f1,
            "voxel_precision": voxels.precision,
            "voxel_sensitivity": voxels.sensitivity,
            "category_accuracy": self.category_accuracy,
            "cases": [asdict(case) for case in self.cases],
        }

    def write_json(self, path: Path) -> None:
        """Write everything that was measured."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.as_dict(), indent=1) + "\n", encoding="utf-8")


def evaluate(
    predict_patch: PredictPatch,
    spec: ModelSpec,
    cases: Sequence[TrainingCase],
    *,
    protocol: ScoringProtocol = LITERATURE,
    progress: Callable[[CaseAgreement], None] | None = None,
) -> Agreement:
    """Segment and score every case as serving does, and compare with its reference."""
    if not cases:
        raise ValueError("An evaluation needs at least one case.")
    results = []
    for case in cases:
        volume, reference = case.load_volume(), case.load_reference_label_map()
        label_map = segment_volume(volume, spec, predict_patch)
        result = compare(case.case_id, volume, label_map, reference, protocol=protocol)
        results.append(result)
        if progress is not None:
            progress(result)
    return Agreement(spec.model_version, tuple(results))


def compare(
    case_id: str,
    volume: CtVolume,
    label_map: LabelMap,
    reference: LabelMap,
    *,
    protocol: ScoringProtocol,
) -> CaseAgreement:
    """Compare two label maps of one volume; the reference counts from the threshold upwards."""
    dense = volume.hu >= protocol.threshold_hu
    by_model, by_reference = (
        measure_calcium(volume, labels, protocol=protocol, has_artery_labels=False)
        for labels in (label_map, reference)
    )
    return CaseAgreement(
        case_id=case_id,
        is_ecg_gated=volume.acquisition.is_ecg_gated,
        spacing_between_slices_mm=volume.geometry.spacing_between_slices_mm,
        voxels=VoxelCounts.of(label_map.calcium_mask & dense, reference.calcium_mask & dense),
        reference_agatston_score=by_reference.total.agatston_score,
        agatston_score=by_model.total.agatston_score,
        reference_risk_category=by_reference.risk_category,
        risk_category=by_model.risk_category,
    )
