"""Annotated data sets that a user brings, as cases; the data themselves are never shipped.

Each importer yields one :class:`ImportedCase` or :class:`RefusedCase` after the other, so that
only one volume is in memory at a time.
"""

from model_training.importers.coca_gated import read_coca_gated
from model_training.importers.coca_nongated import read_coca_nongated
from model_training.importers.data_sets import DataSet, DataSetKind, ImportOptions
from model_training.importers.imported_case import (
    ImportedCase,
    ImportProblem,
    ReferenceScores,
    RefusedCase,
)
from model_training.importers.keep import keep_cases, split_of_patient
from model_training.importers.orcascore import read_orcascore
from model_training.importers.pairs import read_pairs

__all__ = [
    "DataSet",
    "DataSetKind",
    "ImportOptions",
    "ImportProblem",
    "ImportedCase",
    "ReferenceScores",
    "RefusedCase",
    "keep_cases",
    "read_coca_gated",
    "read_coca_nongated",
    "read_orcascore",
    "read_pairs",
    "split_of_patient",
]
