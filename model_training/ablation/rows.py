"""The five rows of the paper's tables, each with one more of its tricks, and its figures.

Ma and Zhang, Automatic Calcium Scoring in Cardiac and Chest CT Using DenseRAUnet, tables 1 and 2.
The text of table 1 gives the F1 of the first and the last row only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from calcium_scoring.model_input.spec import CORONARY_LABEL
from model_training.settings import TrainingConfig

PAPER_PATIENTS: Final = 144


@dataclass(frozen=True)
class AblationRow:
    """A network of the paper: its name there, its tricks and its figures.

    ``paper_right`` and ``paper_right_filtered`` count patients of 144 in the right risk category,
    without and with post-processing; ``paper_f1`` is None where the table's text has lost it.
    """

    row_id: str
    name: str
    rau: bool
    edb: bool
    scse: bool
    iou: bool
    paper_f1: float | None
    paper_right: int
    paper_right_filtered: int

    def configured(self, config: TrainingConfig, *, steps: int) -> TrainingConfig:
        """Return settings with the tricks of this row and no others, for so many steps.

        The network is binary, as in the paper.
        """
        return replace(
            config,
            name=f"{config.name}, ablation {self.row_id}",
            labels=(CORONARY_LABEL,),
            epochs=1,
            steps_per_epoch=steps,
            checkpoint_steps=max(1, steps // 5),
            network=replace(
                config.network, label_count=1, rau=self.rau, edb=self.edb, scse=self.scse
            ),
            loss=replace(config.loss, iou=self.iou),
        )


ABLATION_ROWS: Final[tuple[AblationRow, ...]] = (
    AblationRow("baseline", "Dense U-net", False, False, False, False, 0.65, 101, 99),
    AblationRow("rau", "Dense U-net+RAU", True, False, False, False, None, 104, 111),
    AblationRow("edb", "Dense U-net+RAU+EDB", True, True, False, False, None, 109, 115),
    AblationRow("scse", "Dense U-net+RAU+EDB+scSE", True, True, True, False, None, 109, 117),
    AblationRow("iou", "Our proposed method", True, True, True, True, 0.75, 113, 120),
)
"""Every row keeps the tricks of those before it; all use the bootstrap loss."""
