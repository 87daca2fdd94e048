"""A model over annotated scans, as serving runs it, one scan at a time.

What a model marks in a scan is kept in a folder, under the digests of both: the same evaluation
again, or one that counts in another way, does not run the network a second time.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from calcium_scoring.model_input.segmentation import CalciumModel, segment_scan
from calcium_scoring.scoring.protocol import LITERATURE, ScoringProtocol
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.geometry import VolumeGeometry
from calcium_scoring.volume.label_map import LabelMap
from model_training.cases import TrainingCase
from model_training.evaluation.case_figures import (
    COUNTING_VERSION,
    AnnotatedScan,
    CaseFigures,
    FoundInScan,
    measure_case,
)
from model_training.evaluation.summary import EvaluatedModel
from model_training.export_onnx import load_onnx
from model_training.importers.data_sets import DataSet, ImportOptions
from model_training.importers.imported_case import RefusedCase
from model_training.importers.keep import PATIENT_ATTRIBUTE

CaseProgress = Callable[[CaseFigures], None]

_DIGITS: Final = 16
"""Hexadecimal digits of a digest that name a file: 64 bits are enough to tell scans apart."""


@dataclass(frozen=True)
class ModelToEvaluate:
    """A model as serving would run it, and how it is known."""

    identity: EvaluatedModel
    networks: CalciumModel


@dataclass(frozen=True)
class ModelFile:
    """The file that a service would be given, and how many threads its networks get."""

    path: Path
    thread_count: int = 1

    def open(self) -> ModelToEvaluate:
        """Load the networks.

        Raises
        ------
        ValueError
            If there is no such file.
        ModelRejected
            If it carries no specification that this version reads.
        """
        if not self.path.is_file():
            raise ValueError(f"There is no model file {self.path}.")
        networks = load_onnx(self.path, thread_count=self.thread_count)
        spec = networks.spec
        with self.path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        return ModelToEvaluate(
            EvaluatedModel(spec.model_name, spec.model_version, sha256, spec.is_provisional),
            networks,
        )


class ScanSet(Protocol):
    """Annotated scans that can be gone through more than once."""

    @property
    def description(self) -> str:
        """What it is, in words."""

    def scans(self, only: Collection[str] | None = None) -> Iterator[AnnotatedScan]:
        """Give one scan after the other; ``only`` names the cases that are wanted."""


@dataclass(frozen=True)
class CaseScans:
    """Training cases on disk."""

    description: str
    cases: Sequence[TrainingCase]

    def scans(self, only: Collection[str] | None = None) -> Iterator[AnnotatedScan]:
        """Load one case after the other."""
        for case in self.cases:
            if only is None or case.case_id in only:
                yield scan_of_case(case)


@dataclass(frozen=True)
class DataSetScans:
    """A data set that an importer reads, with references that are masks or scores.

    ``left_out`` is told of each case that the importer refuses or whose reference is known to miss
    calcium.
    """

    data_set: DataSet
    options: ImportOptions | None = None
    left_out: Callable[[RefusedCase], None] | None = None

    @property
    def description(self) -> str:
        """Its kind; where it lies is nobody's business."""
        return f"a data set of kind {self.data_set.kind.value}"

    def scans(self, only: Collection[str] | None = None) -> Iterator[AnnotatedScan]:
        """Read one case after the other."""
        for case in self.data_set.read(self.options):
            if only is not None and case.case_id not in only:
                continue
            if isinstance(case, RefusedCase) or not case.is_reference_complete:
                if self.left_out is not None:
                    self.left_out(
                        RefusedCase(case.case_id, case.patient, case.source, case.problems)
                    )
                continue
            yield AnnotatedScan(
                case.case_id,
                case.patient,
                case.volume,
                case.reference,
                confusers=None,
                heart=None,
                attributes={},
            )


def scan_of_case(case: TrainingCase) -> AnnotatedScan:
    """Load a training case; without a patient of its own each case is another patient."""
    return AnnotatedScan(
        case.case_id,
        str(case.attributes.get(PATIENT_ATTRIBUTE, case.case_id)),
        case.load_volume(),
        case.load_reference_label_map(),
        confusers=np.array(case.confusers),
        heart=None if case.heart is None else np.array(case.heart),
        attributes=case.attributes,
    )


@dataclass(frozen=True)
class FoundCalcium:
    """A folder that keeps what models marked, sparsely, and what was counted of it."""

    folder: Path

    def path(self, model: EvaluatedModel, case_id: str, digest: str, suffix: str) -> Path:
        """Return where something of a model and a scan of this digest is kept."""
        return self.folder / model.sha256[:_DIGITS] / f"{case_id}.{digest[:_DIGITS]}{suffix}"

    def find(
        self, model: ModelToEvaluate, case_id: str, volume: CtVolume, digest: str
    ) -> FoundInScan:
        """Return what the model finds in a scan: as kept, or found now and kept."""
        path = self.path(model.identity, case_id, digest, ".npz")
        kept = _read_found(path, volume.geometry)
        if kept is not None:
            return kept
        segmentation = segment_scan(volume, model.networks)
        found = FoundInScan(
            segmentation.label_map,
            None if segmentation.region is None else segmentation.region.mask,
            tuple(warning.code for warning in segmentation.warnings),
        )
        _write_found(path, found)
        return found


def evaluate_scans(
    model: ModelToEvaluate,
    scans: Iterable[AnnotatedScan],
    *,
    kept: FoundCalcium,
    protocol: ScoringProtocol = LITERATURE,
    progress: CaseProgress | None = None,
) -> list[CaseFigures]:
    """Segment and score every scan as serving does, and compare with its reference."""
    figures = []
    for scan in scans:
        one = _figures_of(model, scan, kept, protocol)
        figures.append(one)
        if progress is not None:
            progress(one)
    return figures


def evaluate_scan_set(
    file: ModelFile,
    scan_set: ScanSet,
    *,
    kept: FoundCalcium,
    worker_count: int = 1,
    protocol: ScoringProtocol = LITERATURE,
    progress: CaseProgress | None = None,
) -> list[CaseFigures]:
    """Do as :func:`evaluate_scans`; training cases in several processes, in their order."""
    if worker_count <= 1 or not isinstance(scan_set, CaseScans):
        return evaluate_scans(
            file.open(), scan_set.scans(), kept=kept, protocol=protocol, progress=progress
        )
    figures = []
    with ProcessPoolExecutor(
        worker_count,
        # A process that has loaded a runtime with threads must not be forked.
        mp_context=get_context("spawn"),
        initializer=_open_in_worker,
        initargs=(file, kept, protocol),
    ) as pool:
        for one in pool.map(_evaluate_in_worker, scan_set.cases):
            figures.append(one)
            if progress is not None:
                progress(one)
    return figures


def volume_digest(volume: CtVolume) -> str:
    """Return the SHA-256 of what a network sees of a volume: its values and its grid."""
    digest = hashlib.sha256(np.ascontiguousarray(volume.hu).data)
    digest.update(repr((volume.geometry.shape, volume.geometry.affine.tolist())).encode())
    return digest.hexdigest()


def _figures_of(
    model: ModelToEvaluate, scan: AnnotatedScan, kept: FoundCalcium, protocol: ScoringProtocol
) -> CaseFigures:
    digest = volume_digest(scan.volume)
    path = kept.path(model.identity, scan.case_id, digest, ".json")
    counted_from = {
        "counting_version": COUNTING_VERSION,
        "protocol": asdict(protocol),
        "reference": _reference_digest(scan),
    }
    figures = _read_figures(path, counted_from)
    if figures is not None:
        return figures
    figures = measure_case(
        scan,
        kept.find(model, scan.case_id, scan.volume, digest),
        model_has_arteries=model.networks.spec.has_artery_labels,
        protocol=protocol,
    )
    _replace(
        path, json.dumps({"counted_from": counted_from, "figures": figures.as_dict()}).encode()
    )
    return figures


class _Worker:
    """What a process of the pool works with."""

    model: ModelToEvaluate
    kept: FoundCalcium
    protocol: ScoringProtocol


def _open_in_worker(file: ModelFile, kept: FoundCalcium, protocol: ScoringProtocol) -> None:
    _Worker.model, _Worker.kept, _Worker.protocol = file.open(), kept, protocol


def _evaluate_in_worker(case: TrainingCase) -> CaseFigures:
    return _figures_of(_Worker.model, scan_of_case(case), _Worker.kept, _Worker.protocol)


def _read_figures(path: Path, counted_from: dict[str, Any]) -> CaseFigures | None:
    """Return what was counted before, if it was counted of the same and in the same way."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        # Through JSON, since it has no tuples.
        if stored["counted_from"] != json.loads(json.dumps(counted_from)):
            return None
        return CaseFigures.from_dict(stored["figures"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read_found(path: Path, geometry: VolumeGeometry) -> FoundInScan | None:
    try:
        with np.load(BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            labels = np.zeros(geometry.shape, dtype=np.uint8)
            labels.ravel()[stored["index"]] = stored["label"]
            region = None
            if "region" in stored:
                bits = np.unpackbits(stored["region"], count=labels.size)
                region = bits.reshape(geometry.shape).astype(np.bool_)
            warnings = tuple(str(code) for code in stored["warnings"])
    except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile):
        return None
    return FoundInScan(LabelMap(geometry, labels), region, warnings)


def _write_found(path: Path, found: FoundInScan) -> None:
    index = np.flatnonzero(found.label_map.labels)
    arrays: dict[str, NDArray[Any]] = {
        "index": index,
        "label": found.label_map.labels.ravel()[index],
        "warnings": np.array(found.warnings, dtype=np.str_),
    }
    if found.region is not None:
        arrays["region"] = np.packbits(found.region)
    content = BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    _replace(path, content.getvalue())


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def _reference_digest(scan: AnnotatedScan) -> str:
    """Return the SHA-256 of all that is known of a scan besides its image."""
    acquisition = asdict(scan.volume.acquisition)
    facts = [scan.patient, sorted(scan.attributes.items()), sorted(acquisition.items())]
    digest = hashlib.sha256(repr(facts).encode())
    if isinstance(scan.reference, LabelMap):
        for values in (scan.reference.labels, scan.confusers, scan.heart):
            digest.update(b"-" if values is None else np.ascontiguousarray(values).data)
    else:
        digest.update(repr(scan.reference).encode())
    return digest.hexdigest()
