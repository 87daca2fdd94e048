"""ModelSpec: what a model file must be fed and how its output is read; it travels in the file."""

from __future__ import annotations

import json
import math
from collections.abc import Set
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from calcium_scoring.errors import ModelRejected
from calcium_scoring.volume.label_map import Artery

SPEC_VERSION: Final = 3
"""Raised whenever the meaning of a field changes; a service refuses any other version."""

METADATA_KEY: Final = "cacscore_model_spec"
"""Key of the JSON text in the metadata of the ONNX file."""

INPUT_NAME: Final = "ct_patch"
OUTPUT_NAME: Final = "calcium_logits"

CORONARY_LABEL: Final = "CORONARY"
ARTERY_LABELS: Final = tuple(artery.name for artery in Artery)
CONFUSER_LABELS: Final = ("AORTA", "VALVE", "OTHER")
"""Calcium of the aortic wall; of the aortic valve and the mitral annulus; anything else that is
dense, such as bone and metal."""
ALL_LABELS: Final = (CORONARY_LABEL, *ARTERY_LABELS, *CONFUSER_LABELS)


def spec_values(text: str, name: str, known: Set[str], accepted_version: int) -> dict[str, Any]:
    """Read the fields of a specification from the text that a model file carries.

    Raises
    ------
    ModelRejected
        If the text is not readable, has another ``spec_version``, or other fields than ``known``.
    """
    try:
        values: dict[str, Any] = json.loads(text)
        version = values["spec_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelRejected(f"The model file carries no readable {name}.") from error
    if version != accepted_version:
        raise ModelRejected(
            f"The model file has {name} version {version}; this cacscore reads version "
            f"{accepted_version}.",
            found=version,
            accepted=accepted_version,
        )
    differing = sorted(set(values) ^ known)
    if differing:
        raise ModelRejected(f"The {name} has unknown or missing fields: {', '.join(differing)}.")
    return values


@dataclass(frozen=True)
class ModelSpec:
    """How a CT volume becomes ``ct_patch`` and how ``calcium_logits`` becomes calcium.

    ``ct_patch`` is (batch, slice_count, row, column) float32 in model units, rows and columns
    multiples of ``size_multiple``; ``calcium_logits`` is (batch, len(labels), row, column), for the
    middle slice. Values marked "our choice" are lost in the text of the paper.
    """

    model_name: str = "DenseRAUnet"
    model_version: str = "0.0.0"
    is_provisional: bool = True
    slice_count: int = 9
    """Neighbouring slices, the labelled one in the middle (paper, 2.2)."""
    pixel_spacing_mm: float = 0.7
    """In-plane grid of the network. Our choice: near that of a chest CT (350 mm / 512)."""
    hu_range: tuple[float, float] = (-300.0, 900.0)
    """HU that become 0 and 1; beyond them values are clipped. Our choice."""
    size_multiple: int = 16
    """Stride of the deepest feature map."""
    labels: tuple[str, ...] = (CORONARY_LABEL,)
    """Meaning of the output channels. ``CORONARY``, the first, is a sigmoid: is it coronary
    calcium? Channels after it, if any, are the logits of one softmax that says what a dense voxel
    is: ``ARTERY_LABELS``, then ``CONFUSER_LABELS``."""
    naming_weight: float = 0.0
    """How much the softmax has a say in what is coronary calcium: its log odds of any artery are
    added to those of the first channel with this weight. Our choice; 0 leaves it to the first."""
    piece_share: float = 0.0
    """How much of the decision on a voxel is that on its piece, the connected dense voxels of its
    slice: 0 decides each voxel alone (the paper), 1 decides whole pieces. Our choice."""
    probability_threshold: float = 0.5
    """Paper, 2.5."""
    threshold_hu: float = 130.0
    """Voxels below it are never calcium (paper, 2.2 and 2.5)."""
    spec_version: int = SPEC_VERSION

    def __post_init__(self) -> None:
        if self.labels not in ((CORONARY_LABEL,), ALL_LABELS):
            raise ValueError(
                f"The output channels {', '.join(self.labels)} are unknown; {CORONARY_LABEL} "
                f"alone or {', '.join(ALL_LABELS)} is accepted."
            )
        if not 0.0 <= self.piece_share <= 1.0 or not 0.0 <= self.naming_weight < math.inf:
            raise ValueError(
                f"The share of the piece is {self.piece_share} and the weight of the naming "
                f"{self.naming_weight}; 0 to 1, and a number from 0 on, are accepted."
            )
        if self.naming_weight and not self.has_artery_labels:
            raise ValueError(
                "A network without naming channels has no say for them: the weight of the naming "
                f"is {self.naming_weight}; only 0 is accepted."
            )

    @property
    def has_artery_labels(self) -> bool:
        """Whether the network tells the arteries apart."""
        return len(self.labels) > 1

    @property
    def decides_voxels_alone(self) -> bool:
        """Whether the first channel decides on each voxel, and nothing else does."""
        return self.piece_share == 0.0 and self.naming_weight == 0.0

    def to_json(self) -> str:
        """Return the text that goes into the model file."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Read the text of a model file; a version or field that is not known is refused."""
        values = spec_values(
            text, cls.__name__, {field.name for field in fields(cls)}, SPEC_VERSION
        )
        try:
            values["hu_range"] = tuple(values["hu_range"])
            values["labels"] = tuple(values["labels"])
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise ModelRejected(f"The ModelSpec cannot be used: {error}") from error
