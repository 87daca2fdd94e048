"""``python -m model_training backgrounds``: real scans with inserted calcium as training cases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from model_training.backgrounds.cases import background_cases
from model_training.backgrounds.marks import SHIPPED_MARKS, find_marks
from model_training.backgrounds.pictures import draw_marks
from model_training.backgrounds.scan import load_background

DEFAULT_DATA: Final = Path("../shared/data")
"""Where tests look for real CT series as well."""

console = Console()


def backgrounds(
    *,
    cases: Annotated[Path, typer.Option(help="Folder of the training cases.")] = Path("runs/cases"),
    n: Annotated[int, typer.Option(min=0, help="Number of cases of each scan.")] = 12,
    first: Annotated[int, typer.Option(min=0, help="First of them.")] = 0,
    data: Annotated[
        Path, typer.Option(envvar="CACSCORE_REAL_DATA", help="Folder of real CT series.")
    ] = DEFAULT_DATA,
    marks: Annotated[
        Path, typer.Option(help="Folder of marks.", show_default="the shipped marks")
    ] = SHIPPED_MARKS,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(help="Name of a scan that is not used, to test on it. May be repeated."),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Also draw the marks over each scan, as PNG files there.")
    ] = None,
) -> None:
    """Insert calcium into real scans along marked arteries, and keep them as training cases."""
    found = find_marks(marks, leave_out or ())
    if not found:
        raise ValueError(f"No marks of a scan are left in {marks}.")
    if pictures is not None:
        for one in found:
            background = load_background(one, data)
            path = pictures / f"{one.name}.png"
            draw_marks(background, path)
            volume_ml = background.heart.sum() * background.volume.geometry.voxel_volume_mm3 / 1e3
            lengths = ", ".join(
                f"{branch.name} {branch.length_mm:.0f} mm"
                for branch in one.coronary_tree().branches
            )
            console.print(f"{one.name}: heart {volume_ml:.0f} mL, {lengths}; {path}")
    for case in background_cases(cases, found, data, first=first, count=n):
        slices, rows, columns = case.hu.shape
        console.print(
            f"{case.case_id}: {slices} slices of {rows} x {columns}, "
            f"{int((case.labels > 0).sum())} voxels of calcium"
        )
    for one in found:
        console.print(f"Used: {one.source.attribution} (doi {one.source.doi})", highlight=False)
