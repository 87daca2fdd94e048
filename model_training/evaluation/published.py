"""Figures that others published, and our own aims, to stand beside what a model reaches.

Each was read at the source that is named. None of them was measured on our scans: other patients,
other references and other rules of what counts as a voxel stand behind them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

FigureName = Literal["voxel_f1", "icc", "kappa", "category_accuracy"]


@dataclass(frozen=True)
class PublishedResult:
    """What somebody reports; a figure that they do not give is None."""

    method: str
    data: str
    source: str
    voxel_f1: float | None = None
    icc: float | None = None
    kappa: float | None = None
    category_accuracy: float | None = None


PUBLISHED: Final[tuple[PublishedResult, ...]] = (
    PublishedResult(
        "DenseRAUnet",
        "144 cardiac and chest CT",
        "Ma and Zhang, Automatic Calcium Scoring in Cardiac and Chest CT Using DenseRAUnet, "
        "tables 1 and 2 (category with post-processing)",
        voxel_f1=0.75,
        category_accuracy=120 / 144,
    ),
    PublishedResult(
        "Dense U-Net, its baseline",
        "144 cardiac and chest CT",
        "the same, tables 1 and 2",
        voxel_f1=0.65,
        category_accuracy=99 / 144,
    ),
    PublishedResult(
        "two networks, dilated convolutions",
        "low-dose chest CT, soft kernel",
        "Lessmann et al., IEEE Trans Med Imaging 2018;37:615-625, abstract",
        voxel_f1=0.89,
        kappa=0.91,
    ),
    PublishedResult(
        "direct regression",
        "cardiac CT",
        "de Vos et al., IEEE Trans Med Imaging 2019;38:2127-2138, abstract",
        icc=0.98,
        kappa=0.95,
    ),
    PublishedResult(
        "direct regression",
        "chest CT",
        "de Vos et al., the same",
        icc=0.98,
        kappa=0.93,
    ),
    PublishedResult(
        "DL-CACS",
        "COCA, 425 gated CT",
        "Performance of fully automated deep-learning-based coronary artery calcium scoring in "
        "ECG-gated calcium CT and non-gated low-dose chest CT, abstract",
        icc=0.990,
        kappa=0.97,
    ),
    PublishedResult(
        "DL-CACS",
        "COCA, 199 non-gated CT against gated scores",
        "the same",
        icc=0.948,
        kappa=0.71,
    ),
)

HUMAN_REPEATABILITY: Final[tuple[tuple[str, str], ...]] = (
    (
        "4.1 % of pairs of scans of one patient differ in whether there is calcium at all",
        "MESA, 6,742 patients scanned twice; PubMed 18212206",
    ),
    (
        "two readers of one scan differ by 3.3 % on average, one reader of two scans by 13.5 %",
        "104 patients; Jpn J Radiol 2014;32:677-684",
    ),
)
"""What no method can be asked to improve on."""


@dataclass(frozen=True)
class Aim:
    """A bound that was set before the model was trained."""

    name: str
    figure: str
    bound: float
    is_upper: bool = False
    digits: int = 3
    """Decimals in which a value is told."""

    def is_met(self, value: float | None) -> bool:
        """Tell whether a value, not its interval, is on the right side."""
        if value is None:
            return False
        return value < self.bound if self.is_upper else value >= self.bound


AIMS: Final[tuple[Aim, ...]] = (
    Aim("voxel F1", "voxel_f1", 0.90),
    Aim("ICC(A,1) of the Agatston score", "icc", 0.99, digits=4),
    Aim("linearly weighted kappa of the risk category", "kappa", 0.95),
    Aim("risk category right", "category_accuracy", 0.95),
    Aim(
        "calcium of aorta, aortic valve and mitral annulus counted as coronary, part of its volume",
        "aortic_and_mitral",
        0.02,
        is_upper=True,
        digits=4,
    ),
)
"""On at least 60 simulated patients that training never saw."""
