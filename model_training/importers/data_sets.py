"""One name and one function for all data sets, for whoever starts a command with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from model_training.importers.coca_gated import read_coca_gated
from model_training.importers.coca_nongated import read_coca_nongated
from model_training.importers.imported_case import ImportedCase, RefusedCase
from model_training.importers.orcascore import read_orcascore
from model_training.importers.pairs import read_pairs


class DataSetKind(StrEnum):
    """Layouts that can be read; how each looks is said in ``docs/how-to``."""

    COCA_GATED = "coca-gated"
    COCA_NONGATED = "coca-nongated"
    ORCASCORE = "orcascore"
    PAIRS = "pairs"


@dataclass(frozen=True)
class ImportOptions:
    """What only the holder of the data can know; see :func:`read_coca_gated`."""

    no_annotation_means_zero: bool = False
    roi_names: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True)
class DataSet:
    """A data set on disk: its layout, and its folder (a table for ``pairs``)."""

    kind: DataSetKind
    path: Path

    @classmethod
    def parse(cls, text: str) -> DataSet:
        """Read ``KIND=PATH``, as ``coca-gated=/data/Gated_release_final``.

        Raises
        ------
        ValueError
            If the kind is unknown or there is nothing at the path.
        """
        name, _, path = text.partition("=")
        if name not in {kind.value for kind in DataSetKind} or not path:
            raise ValueError(
                f"{text!r} names no data set; write KIND=PATH with a kind of "
                f"{', '.join(DataSetKind)}."
            )
        data_set = cls(DataSetKind(name), Path(path))
        if not data_set.path.exists():
            raise ValueError(f"There is nothing at {data_set.path}.")
        return data_set

    def read(self, options: ImportOptions | None = None) -> Iterator[ImportedCase | RefusedCase]:
        """Read its cases one after the other.

        Raises
        ------
        ValueError
            If the data set has another layout than its kind.
        """
        options = options or ImportOptions()
        match self.kind:
            case DataSetKind.COCA_GATED:
                return read_coca_gated(
                    self.path,
                    roi_names=options.roi_names,
                    no_annotation_means_zero=options.no_annotation_means_zero,
                )
            case DataSetKind.COCA_NONGATED:
                return read_coca_nongated(self.path)
            case DataSetKind.ORCASCORE:
                return read_orcascore(self.path)
            case DataSetKind.PAIRS:
                return read_pairs(self.path)
