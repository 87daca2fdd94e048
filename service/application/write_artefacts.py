"""Every file of a result, all from the one report: masks, SR, key images, PDF, FHIR, CSV, record.

One call writes all of them; each has a function of its own for whoever wants only one. The same
result written again is the same files, byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from calcium_scoring.dicom.derived_objects import study_date
from calcium_scoring.dicom.read_series import CtSeries
from calcium_scoring.dicom.write_encapsulated_pdf import write_encapsulated_pdf
from calcium_scoring.dicom.write_report import write_report
from calcium_scoring.dicom.write_secondary_capture import write_secondary_capture
from calcium_scoring.dicom.write_segmentation import (
    write_lesion_segmentation,
    write_segmentation,
)
from calcium_scoring.nifti import write_lesion_nifti, write_nifti
from calcium_scoring.rendering.key_image import key_slice_indices, render_key_image
from calcium_scoring.scoring.report import CalciumReport
from calcium_scoring.volume.label_map import LabelMap
from service.application import artefact_names as names
from service.application.csv_row import csv_lines, report_row
from service.application.fhir_report import fhir_bundle
from service.application.jobs import ModelIdentity, Stage
from service.application.preview import write_preview
from service.application.progress import StageProgress, no_progress
from service.application.provenance import Artefact, Signer, inputs_of, provenance_document
from service.application.report_terms import ReportDocument
from service.application.write_dicom_metadata import write_dicom_metadata

if TYPE_CHECKING:
    from service.application.score_series import ScoredSeries


@dataclass(frozen=True, eq=False)
class Result:
    """What was found in a series, as every writer takes it."""

    series: CtSeries
    label_map: LabelMap
    report: CalciumReport
    model: ModelIdentity
    document: ReportDocument

    @classmethod
    def of(cls, scored: ScoredSeries) -> Result:
        """Return the result of scoring."""
        return cls(scored.series, scored.label_map, scored.report, scored.model, scored.document)

    @cached_property
    def key_slices(self) -> tuple[int, ...]:
        """Slices that pictures show."""
        return key_slice_indices(self.document, self.series.volume.geometry.shape[0])

    @cached_property
    def pdf(self) -> bytes:
        """The printed page."""
        # reportlab takes a third of a second to import, and not every command prints.
        from calcium_scoring.rendering.report_page import render_report_page  # noqa: PLC0415

        return render_report_page(
            self.document,
            self.series.volume,
            self.label_map,
            self.key_slices,
            study_date=study_date(self.series.instances[0]),
        )

    def write_json(self, path: Path) -> None:
        """Write the report as JSON."""
        text = json.dumps(self.document, ensure_ascii=False, allow_nan=False, indent=1)
        path.write_text(text, encoding="utf-8")

    def write_sr(self, path: Path) -> None:
        """Write the report as DICOM SR."""
        write_report(
            self.report, self.document, self.label_map, self.series, model=self.model, out=path
        )

    def write_pdf(self, path: Path) -> None:
        """Write the report as PDF."""
        path.write_bytes(self.pdf)

    def write_fhir(self, path: Path) -> None:
        """Write the report as a FHIR bundle."""
        bundle = fhir_bundle(self.document, study_date=study_date(self.series.instances[0]))
        text = json.dumps(bundle, ensure_ascii=False, allow_nan=False, indent=1)
        path.write_text(text, encoding="utf-8")

    def write_csv(self, path: Path) -> None:
        """Write the report as a table with one row."""
        row = report_row(self.document)
        path.write_text("".join(csv_lines([row], list(row))), encoding="utf-8", newline="")

    def write_key_images(self, folder: Path) -> list[str]:
        """Write the key images and return their names."""
        written = []
        for number, index in enumerate(self.key_slices, start=1):
            name = names.key_image(number)
            write_secondary_capture(
                render_key_image(self.series.volume, self.label_map, index, self.document),
                self.series,
                index,
                model=self.model,
                instance_number=number,
                out=folder / name,
            )
            written.append(name)
        return written

    def write_provenance(
        self, path: Path, artefacts: Iterator[Artefact] | list[Artefact], signer: Signer | None
    ) -> None:
        """Write the record of inputs, network, rules, programs and these files, signed."""
        identity = self.series.volume.identity
        record = provenance_document(
            self.document,
            inputs=(
                inputs_of(identity.sop_instance_uids, self.series.paths)
                if identity is not None
                else []
            ),
            artefacts=artefacts,
            model=self.model,
            signer=signer,
        )
        text = json.dumps(record, ensure_ascii=False, allow_nan=False, indent=1)
        path.write_text(text, encoding="utf-8")


def write_artefacts(
    scored: ScoredSeries,
    folder: Path,
    progress: StageProgress = no_progress,
    signer: Signer | None = None,
) -> tuple[str, ...]:
    """Write every file of a result into an existing folder and return their names.

    The files of the series must still be there: the record names their digests.
    """
    progress(Stage.WRITING, 0.0)
    result = Result.of(scored)
    written = [names.REPORT, names.MASK_DICOM, names.MASK_NIFTI]
    result.write_json(folder / names.REPORT)
    write_segmentation(result.label_map, result.series, result.model, folder / names.MASK_DICOM)
    write_nifti(result.label_map, folder / names.MASK_NIFTI)
    if result.report.lesions:
        lesions = result.report.lesions
        write_lesion_segmentation(
            lesions, result.series, result.model, folder / names.LESIONS_DICOM
        )
        write_lesion_nifti(lesions, result.label_map.geometry, folder / names.LESIONS_NIFTI)
        written += [names.LESIONS_DICOM, names.LESIONS_NIFTI]
    progress(Stage.WRITING, 0.2)
    result.write_sr(folder / names.REPORT_SR)
    result.write_pdf(folder / names.REPORT_PDF)
    write_encapsulated_pdf(
        result.pdf, result.series, model=result.model, out=folder / names.REPORT_PDF_DICOM
    )
    result.write_fhir(folder / names.REPORT_FHIR)
    result.write_csv(folder / names.REPORT_CSV)
    written += [
        names.REPORT_SR,
        names.REPORT_PDF,
        names.REPORT_PDF_DICOM,
        names.REPORT_FHIR,
        names.REPORT_CSV,
        *result.write_key_images(folder),
    ]
    progress(Stage.WRITING, 0.5)
    result.write_provenance(
        folder / names.PROVENANCE, [Artefact.of(folder / name) for name in written], signer
    )
    write_preview(
        result.series.volume,
        result.label_map,
        folder / names.PREVIEW,
        lambda done: progress(Stage.WRITING, 0.5 + 0.5 * done),
    )
    write_dicom_metadata(
        folder, [name for name in written if name.endswith(".dcm")], folder / names.DICOM_METADATA
    )
    return (*written, names.PROVENANCE, names.DICOM_METADATA, names.PREVIEW)
