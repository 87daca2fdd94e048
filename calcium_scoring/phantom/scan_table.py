"""The table under the patient, and cushions on it. Shapes are our choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from calcium_scoring.phantom.canvas import Canvas
from calcium_scoring.phantom.settings import PatientSettings
from calcium_scoring.phantom.structures import Structure

_SHELL_HU: Final = (-200.0, 250.0)
_FOAM_HU: Final = (-990.0, -900.0)


@dataclass(frozen=True)
class ScanTable:
    """A curved shell over foam, perhaps over a second shell, under a mat.

    ``top_mm`` is its highest level, towards the patient's back or, prone, to the front.
    """

    top_mm: float
    half_width_mm: float
    curvature_mm: float
    depth_mm: float
    shell_mm: float
    shell_hu: float
    foam_hu: float
    mat_mm: float
    has_lower_shell: bool
    is_prone: bool

    @classmethod
    def draw(cls, patient: PatientSettings, rng: np.random.Generator) -> ScanTable:
        """Draw a table that touches the patient."""
        if patient.is_prone:
            top = 150.0 * patient.chest_depth_scale + 0.7 * patient.subcutaneous_fat_mm
        else:
            top = 74.0 + 1.0 * patient.subcutaneous_fat_mm + 0.5 * patient.muscle_mm
        return cls(
            top_mm=top + float(rng.uniform(2.0, 20.0)),
            half_width_mm=float(rng.uniform(185.0, 240.0)),
            curvature_mm=float(rng.choice([500.0, 900.0, 1500.0, 1e5])),
            depth_mm=float(rng.uniform(12.0, 60.0)),
            shell_mm=float(rng.uniform(0.6, 2.2)),
            shell_hu=float(rng.uniform(*_SHELL_HU)),
            foam_hu=float(rng.uniform(*_FOAM_HU)),
            mat_mm=float(rng.choice([0.0, 6.0, 14.0])),
            has_lower_shell=bool(rng.random() < 0.7),
            is_prone=patient.is_prone,
        )

    def paint(self, canvas: Canvas, structures: NDArray[np.uint8]) -> None:
        """Paint the table and label its shells."""
        down = np.float32(-1.0 if self.is_prone else 1.0)
        x = canvas.xs
        y = canvas.ys * down
        rows = np.flatnonzero(
            y > self.top_mm - 1.2 * 210.0**2 / self.curvature_mm - self.mat_mm - 3
        )
        columns = np.flatnonzero(np.abs(x) < self.half_width_mm)
        if not rows.size or not columns.size:
            return
        where = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        x, y = x[np.newaxis, where[1]], y[where[0], np.newaxis]
        depth = y - (np.float32(self.top_mm) - np.square(x) / np.float32(self.curvature_mm))
        if self.mat_mm:
            mat = np.abs(depth + np.float32(0.5 * self.mat_mm)) - np.float32(0.5 * self.mat_mm)
            canvas.cover(where, mat, -930.0)
        half = np.float32(0.5 * self.depth_mm)
        canvas.cover(where, np.abs(depth - half) - half, self.foam_hu)
        shell = np.abs(depth) - np.float32(0.5 * self.shell_mm)
        if self.has_lower_shell:
            lower = np.abs(y - np.float32(self.top_mm + self.depth_mm))
            shell = np.minimum(shell, lower - np.float32(0.5 * self.shell_mm))
        canvas.cover(where, shell, self.shell_hu)
        structures[where][shell < 0.0] = Structure.TABLE
