"""Training cases: annotated series kept as plain arrays, split by patient.

A case is a folder ``<case_id>/`` with ``hu.npy`` (int16, as CT stores it), ``labels.npy`` (uint8,
values of :mod:`calcium_scoring.volume.label_map`), ``confusers.npy`` (uint8, what is dense without
being coronary calcium, 0 where nothing is), ``case.json`` and, where the heart is known,
``heart.npy`` (uint8, 1 inside the pericardial sac). Arrays are ``(slice, row, column)`` and
uncompressed, so that a crop is read without the rest of its volume.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from calcium_scoring.volume.ct_volume import CtAcquisition, CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import LabelMap

Split: TypeAlias = Literal["train", "validation", "test"]

SPLIT_SEEDS: Final[dict[Split, range]] = {
    "train": range(100_000),
    "validation": range(100_000, 200_000),
    "test": range(200_000, 300_000),
}
"""A simulated patient belongs to the split that holds its seed, so no patient is in two."""

CASE_FILE: Final = "case.json"

Attribute: TypeAlias = str | float | bool
"""A fact about a case by which results are grouped."""

ScalarT = TypeVar("ScalarT", np.int16, np.uint8)


@dataclass(frozen=True)
class TrainingCase:
    """One annotated series on disk."""

    case_id: str
    split: Split
    folder: Path
    affine: tuple[tuple[float, ...], ...]
    acquisition: CtAcquisition
    are_confusers_complete: bool = False
    """Whether everything dense that is not named in ``confusers`` is known to be none of the kinds
    named there. Of a patient's scan it is not; of a simulated patient it is."""
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    """What is known of patient and scan, for results by group."""

    @cached_property
    def hu(self) -> NDArray[np.int16]:
        """Hounsfield values, mapped from disk and read-only."""
        return _map_array(self.folder / "hu.npy", np.int16)

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        """Reference labels, mapped from disk and read-only."""
        return _map_array(self.folder / "labels.npy", np.uint8)

    @cached_property
    def confusers(self) -> NDArray[np.uint8]:
        """Dense structures that are not coronary calcium, by kind; mapped from disk."""
        return _map_array(self.folder / "confusers.npy", np.uint8)

    @cached_property
    def heart(self) -> NDArray[np.uint8] | None:
        """1 inside the pericardial sac, mapped from disk; None where it is not known."""
        path = self.folder / "heart.npy"
        return _map_array(path, np.uint8) if path.is_file() else None

    @cached_property
    def geometry(self) -> VolumeGeometry:
        """Grid of all arrays."""
        slices, rows, columns = self.hu.shape
        return VolumeGeometry((slices, rows, columns), np.array(self.affine))

    def load_volume(self) -> CtVolume:
        """Return the volume as serving would read it from DICOM."""
        return CtVolume(self.geometry, self.hu.astype(np.float32), self.acquisition)

    def load_reference_label_map(self) -> LabelMap:
        """Return the reference labels on the grid of the volume."""
        return LabelMap(self.geometry, np.array(self.labels))


def write_case(
    root: Path,
    case_id: str,
    *,
    split: Split,
    volume: CtVolume,
    reference: LabelMap,
    confusers: NDArray[np.uint8],
    are_confusers_complete: bool = False,
    heart: NDArray[np.bool_] | None = None,
    attributes: Mapping[str, Attribute] | None = None,
) -> TrainingCase:
    """Write a case below ``root``, complete or not at all; an old one of this name is replaced.

    Raises
    ------
    ValueError
        If reference, confusers or heart do not lie on the grid of the volume.
    """
    geometry = volume.geometry
    shapes = {confusers.shape, geometry.shape if heart is None else heart.shape}
    if not geometry.is_same_grid(reference.geometry) or shapes != {geometry.shape}:
        raise ValueError(
            f"Case {case_id}: labels {reference.labels.shape}, confusers and heart "
            f"{sorted(shapes)} must lie on the grid of the volume {geometry.shape}."
        )
    folder = root / case_id
    unfinished = root / f".{case_id}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    limits = np.iinfo(np.int16)
    stored = np.clip(np.rint(volume.hu), limits.min, limits.max).astype(np.int16)
    np.save(unfinished / "hu.npy", stored)
    np.save(unfinished / "labels.npy", reference.labels)
    np.save(unfinished / "confusers.npy", confusers.astype(np.uint8))
    if heart is not None:
        np.save(unfinished / "heart.npy", heart.astype(np.uint8))
    description = {
        "case_id": case_id,
        "split": split,
        "affine": geometry.affine.tolist(),
        "acquisition": asdict(volume.acquisition),
        "are_confusers_complete": are_confusers_complete,
        "attributes": dict(attributes or {}),
    }
    (unfinished / CASE_FILE).write_text(json.dumps(description, indent=1), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    return read_case(folder)


def read_case(folder: Path) -> TrainingCase:
    """Read what describes a case; its arrays are opened when first asked for."""
    try:
        description = json.loads((folder / CASE_FILE).read_text(encoding="utf-8"))
        acquisition = description["acquisition"]
        acquisition["convolution_kernel"] = tuple(acquisition["convolution_kernel"])
        return TrainingCase(
            case_id=description["case_id"],
            split=_split_named(description["split"]),
            folder=folder,
            affine=tuple(tuple(row) for row in description["affine"]),
            acquisition=CtAcquisition(**acquisition),
            are_confusers_complete=bool(description.get("are_confusers_complete", False)),
            attributes=dict(description.get("attributes", {})),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder} holds no readable training case: {error}") from error


def find_cases(root: Path, split: Split | None = None) -> list[TrainingCase]:
    """Return the cases below a folder, by name; of one split or of all."""
    cases = [read_case(path.parent) for path in sorted(root.glob(f"[!.]*/{CASE_FILE}"))]
    return [case for case in cases if split is None or case.split == split]


def require_cases(root: Path, split: Split) -> list[TrainingCase]:
    """Return the cases of a split; none is an error that says how to make some."""
    cases = find_cases(root, split)
    if not cases:
        raise ValueError(
            f"No {split} case below {root}. "
            f"Make some: python -m model_training simulate --cases {root} --split {split} --n 8"
        )
    return cases


def split_seeds(split: Split, first: int, count: int) -> Iterable[int]:
    """Return ``count`` seeds of a split, starting with its ``first``-th."""
    seeds = SPLIT_SEEDS[split][first : first + count]
    if len(seeds) < count:
        raise ValueError(f"Split {split} has no {count} seeds from number {first} on.")
    return seeds


def _split_named(name: str) -> Split:
    for split in SPLIT_SEEDS:
        if split == name:
            return split
    raise ValueError(f"split {name!r} is none of {', '.join(SPLIT_SEEDS)}")


def _map_array(path: Path, scalar: type[ScalarT]) -> NDArray[ScalarT]:
    array: NDArray[ScalarT] = np.load(path, mmap_mode="r")
    if array.dtype != scalar or array.ndim != 3:
        raise ValueError(
            f"{path} must hold a volume of {scalar.__name__}, not {array.dtype} {array.shape}."
        )
    return array
