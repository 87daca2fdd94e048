"""Table of the DICOM objects of results, as queries find them."""

from __future__ import annotations

from sqlalchemy import JSON, Column, ForeignKey, Index, String, Table

from service.adapters.database.columns import UtcDateTime
from service.adapters.database.tables import metadata, studies

result_instances = Table(
    "result_instances",
    metadata,
    Column("study_id", ForeignKey(studies.c.id, ondelete="CASCADE"), primary_key=True),
    Column("sop_instance_uid", String(64), primary_key=True),
    Column("series_instance_uid", String(64), nullable=False),
    Column("study_instance_uid", String(64), nullable=False),
    Column("sop_class_uid", String(64), nullable=False),
    # The folder of the result and the name of the file in it.
    Column("result_key", String(128), nullable=False),
    Column("name", String(64), nullable=False),
    # What queries may match, as DICOM JSON; see KEPT_TAGS.
    Column("attributes", JSON, nullable=False),
    # Empty where the object has none.
    Column("patient_id", String(64), nullable=False),
    Column("accession_number", String(16), nullable=False),
    Column("study_date", String(8), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_result_instances_study_instance_uid", "study_instance_uid"),
    Index("ix_result_instances_series_instance_uid", "series_instance_uid"),
    Index("ix_result_instances_sop_instance_uid", "sop_instance_uid"),
    Index("ix_result_instances_patient_id", "patient_id"),
    Index("ix_result_instances_accession_number", "accession_number"),
)
