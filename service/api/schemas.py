"""What the gateway answers, field by field: the schema of ``openapi/openapi.json``.

Every field is always present; what is not known is null. Numbers are unrounded, times are UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.application.jobs import JobStatus, Stage, StudyJob, StudyPage
from service.application.problem import Problem

ArteryName = Literal["LM", "LAD", "LCX", "RCA"]

Evidence = Annotated[
    dict[str, Any],
    Field(description="The same facts for machines; its keys depend on the code."),
]


class ResponseModel(BaseModel):
    """A response is complete: no field is optional, no field is unknown."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_serialization_defaults_required=True,
        protected_namespaces=(),
        use_attribute_docstrings=True,
    )


class ProblemResponse(ResponseModel):
    """Why a request was refused or a study failed (RFC 9457, `application/problem+json`)."""

    type: str
    """URI of the kind of problem: `urn:cacscore:problem:` and the code."""
    title: str
    """The kind of problem in words; the same for every problem of a code."""
    status: int
    """HTTP status, as in the status line."""
    detail: str
    """What was found, where, and what would be accepted."""
    code: str
    """Stable name of the kind of problem, such as `not_a_zip` or `irregular_geometry`."""
    evidence: Evidence

    @classmethod
    def of(cls, problem: Problem, status: int) -> ProblemResponse:
        """Give a problem its HTTP status."""
        return cls(status=status, **problem.to_document())


class StudyProblem(ResponseModel):
    """Why a study could not be scored."""

    type: str
    """URI of the kind of problem: `urn:cacscore:problem:` and the code."""
    title: str
    """The kind of problem in words."""
    detail: str
    """What was found, where, and what would be accepted."""
    code: str
    """Stable name of the kind of problem."""
    evidence: Evidence


class StudyResponse(ResponseModel):
    """An upload and how far its scoring has come."""

    id: str
    """Opaque; the same bytes always have the same id."""
    status: JobStatus
    """`queued`, `running`, `succeeded` or `failed`."""
    stage: Stage
    """What is being done."""
    progress: float = Field(ge=0.0, le=1.0)
    """Share of the work that is done, 0 to 1; starts again with each attempt."""
    attempt: int = Field(ge=0)
    """Attempts begun so far; more than one means that a worker was lost or a dependency away."""
    upload_size_bytes: int = Field(ge=0)
    """Size of the uploaded archive in bytes."""
    created_at: datetime
    """When the upload was accepted, UTC."""
    updated_at: datetime
    """When the record of the study last changed, UTC."""
    started_at: datetime | None
    """When the latest attempt began, UTC; null while it waits."""
    finished_at: datetime | None
    """When scoring succeeded or failed, UTC; null before."""
    problem: StudyProblem | None
    """Why it failed; null unless the status is `failed`."""

    @classmethod
    def of(cls, study: StudyJob) -> StudyResponse:
        """Show a study of the record."""
        return cls(
            id=study.study_id,
            status=study.status,
            stage=study.stage,
            progress=study.progress,
            attempt=study.attempt,
            upload_size_bytes=study.upload_size_bytes,
            created_at=study.created_at,
            updated_at=study.updated_at,
            started_at=study.started_at,
            finished_at=study.finished_at,
            problem=None if study.problem is None else StudyProblem(**study.problem.to_document()),
        )


class StudyPageResponse(ResponseModel):
    """Some studies, the newest first."""

    studies: list[StudyResponse]
    """At most `limit` of them."""
    next_cursor: str | None
    """Pass it as `cursor` to get the next page; null on the last one."""

    @classmethod
    def of(cls, page: StudyPage) -> StudyPageResponse:
        """Show a page of the record."""
        return cls(
            studies=[StudyResponse.of(study) for study in page.studies],
            next_cursor=page.next_cursor,
        )


class CalciumScoresResponse(ResponseModel):
    """The scores of one artery."""

    agatston_score: float
    """Agatston score, dimensionless, scaled to 3 mm slice spacing."""
    volume_score_mm3: float
    """Volume of calcium in mm³, without interpolation."""
    mass_score_mg: float | None
    """Mass of calcium in mg hydroxyapatite; null without a calibration factor."""
    lesion_count: int
    """Number of lesions, joined across slices."""


class ArteriesResponse(ResponseModel):
    """Scores per coronary artery; null where the model does not tell arteries apart."""

    LM: CalciumScoresResponse | None
    """Left main."""
    LAD: CalciumScoresResponse | None
    """Left anterior descending."""
    LCX: CalciumScoresResponse | None
    """Left circumflex."""
    RCA: CalciumScoresResponse | None
    """Right coronary artery."""


class SliceLesionResponse(ResponseModel):
    """The part of a lesion within one slice: what Agatston weighs."""

    slice_index: int
    """Index of the slice; 0 is the lowest."""
    sop_instance_uid: str | None
    """SOP Instance UID of the slice; null where the source was not DICOM."""
    area_mm2: float
    """Area in mm²."""
    peak_hu: float
    """Highest attenuation in HU."""
    mean_hu: float
    """Mean attenuation in HU."""
    density_weight: int = Field(ge=0, le=4)
    """Agatston's weight from the peak of this part: 1 to 4."""
    agatston_score: float
    """Its share of the Agatston score, scaled to 3 mm slice spacing."""


class LesionResponse(ResponseModel):
    """Calcium that overlaps from slice to slice."""

    id: int
    """Counts from 1 within the report, from the lowest slice upwards."""
    artery: ArteryName | None
    """The artery that holds most of it; null where the model does not tell arteries apart."""
    first_slice_index: int
    """Lowest slice that it reaches; slice 0 is the lowest of the series."""
    last_slice_index: int
    """Highest slice that it reaches."""
    sop_instance_uids: list[str]
    """SOP Instance UIDs of the slices that it reaches, from the lowest upwards."""
    area_mm2: float
    """Area in mm², summed over slices."""
    volume_score_mm3: float
    """Volume in mm³."""
    mass_score_mg: float | None
    """Mass in mg hydroxyapatite; null without a calibration factor."""
    peak_hu: float
    """Highest attenuation in HU."""
    mean_hu: float
    """Mean attenuation over its voxels in HU."""
    density_weight: int = Field(ge=0, le=4)
    """Weight of its highest peak; the score weighs each slice by its own, see `slices`."""
    agatston_score: float
    """Its share of the Agatston score."""
    centroid_lps_mm: list[float] = Field(min_length=3, max_length=3)
    """Mean position of its voxels in mm: to the patient's left, to posterior, to superior."""
    slices: list[SliceLesionResponse]
    """Its parts, slice by slice; a slice may hold several."""


class SeriesResponse(ResponseModel):
    """The series that was scored; attributes are null where the header does not say."""

    study_instance_uid: str | None
    """Study Instance UID; null where the source was not DICOM."""
    series_instance_uid: str | None
    """Series Instance UID; null where the source was not DICOM."""
    frame_of_reference_uid: str | None
    """Frame of Reference UID; null where the source was not DICOM."""
    slice_count: int
    """Number of slices."""
    rows: int
    """Pixels from top to bottom."""
    columns: int
    """Pixels from left to right."""
    spacing_between_slices_mm: float
    """Distance between slice centres in mm, from their positions; not the slice thickness."""
    pixel_spacing_mm: list[float] = Field(min_length=2, max_length=2)
    """Distance between rows, then between columns, in mm."""
    manufacturer: str | None
    """Manufacturer of the scanner."""
    manufacturer_model_name: str | None
    """Model of the scanner."""
    kvp: float | None
    """Tube voltage in kV."""
    slice_thickness_mm: float | None
    """Nominal slice thickness in mm."""
    convolution_kernel: list[str]
    """Reconstruction kernel; empty where the header does not say."""
    is_ecg_gated: bool | None
    """Whether the scan was ECG-gated."""
    is_contrast_enhanced: bool | None
    """Whether contrast agent was given."""
    series_description: str | None
    """Series Description, as sent."""
    mass_calibration_factor: float | None
    """mg/(cm³ HU), from the header; null without calibration."""


class ScoringProtocolResponse(ResponseModel):
    """The rules of the score."""

    name: str
    """Name of the rule set."""
    threshold_hu: float
    """Voxels below it are not calcium, in HU."""
    density_weight_bounds_hu: list[float] = Field(min_length=4, max_length=4)
    """Peaks from which the density weight is 1, 2, 3 and 4, in HU."""
    min_lesion_area_mm2: float
    """Smaller regions within a slice are noise, in mm²."""
    in_plane_connectivity: Literal[4, 8]
    """Whether pixels that touch at a corner belong together (8) or not (4)."""


class ModelResponse(ResponseModel):
    """The network that found the calcium."""

    name: str
    """Name of the network."""
    version: str
    """Version of its weights."""
    sha256: str
    """SHA-256 of the model file, hex."""
    is_provisional: bool
    """True for a network that shows how the service works and was not validated."""


class WarningResponse(ResponseModel):
    """Something that a reader of the score should know."""

    code: str
    """Stable name of the warning, such as `kvp_not_120`."""
    message: str
    """The warning in words."""
    evidence: Evidence


class OtherSeriesResponse(ResponseModel):
    """A series of the upload that was not scored."""

    series_instance_uid: str | None
    """Series Instance UID; null where it is missing."""
    series_description: str | None
    """Series Description, as sent."""
    slice_count: int
    """Number of images."""
    reason: str
    """Why it was not chosen."""


class LeftOutFileResponse(ResponseModel):
    """A file of the upload, or a frame of one, that was not used."""

    number: int
    """Which file of the upload, counted from 1: in the order of the archive (without folders and
    what operating systems leave behind), or of the names in a folder. Names may hold a patient's
    name and are not repeated."""
    frame_number: int | None
    """Which of its frames, counted from 1; null where the whole file was left out."""
    kind: str | None
    """Name of its SOP class; null where that is unknown or the file is not DICOM."""
    reason: str
    """Why it was left out."""


class CalciumReportResponse(ResponseModel):
    """The calcium of a series: scores, every lesion behind them, and how they came about."""

    schema_version: int
    """Version of this schema."""
    service_version: str
    """Version of the code that measured."""
    intended_use: str
    """What the report is for, and what it is not for."""
    agatston_score: float
    """Agatston score, dimensionless, scaled to 3 mm slice spacing; unrounded."""
    volume_score_mm3: float
    """Volume of calcium in mm³, without interpolation."""
    mass_score_mg: float | None
    """Mass of calcium in mg hydroxyapatite; null without a calibration factor."""
    lesion_count: int
    """Number of lesions, joined across slices."""
    risk_category: Literal["0", "1-10", "11-100", "101-400", ">400"]
    """Category of the unrounded Agatston score; an upper bound belongs to the lower category."""
    cac_drs_category: Literal["A0", "A1", "A2", "A3"]
    """CAC-DRS category of the Agatston score."""
    vessel_count: int | None
    """CAC-DRS N: arteries with calcium, 0 to 4; null where arteries are not told apart."""
    arteries: ArteriesResponse
    """Scores per artery."""
    lesions: list[LesionResponse]
    """Every lesion, from the lowest upwards."""
    series: SeriesResponse
    """The series that was scored."""
    protocol: ScoringProtocolResponse
    """The rules of the score."""
    model: ModelResponse | None
    """The network; null where a reader's own mask was measured."""
    warnings: list[WarningResponse]
    """What a reader of the score should know."""
    other_series: list[OtherSeriesResponse]
    """Series of the upload that were not scored, and why."""
    left_out_files: list[LeftOutFileResponse]
    """Files of the upload that were not used, and why."""


class HealthResponse(ResponseModel):
    """The process answers."""

    status: Literal["ok"]
    """Always `ok`."""


class CheckResponse(ResponseModel):
    """One thing that an upload needs."""

    name: Literal["database", "broker", "artefact_folder", "model_file", "worker"]
    """What was checked; `worker` is not ok once studies wait and no worker scores anything."""
    is_ok: bool
    """Whether the check passed."""
    detail: str | None
    """What is wrong; null when nothing is."""


class ReadinessResponse(ResponseModel):
    """Whether an upload sent now would be accepted, and whether waiting studies are taken up."""

    is_ready: bool
    """True when every check passed."""
    checks: list[CheckResponse]
    """Each check."""


class VersionResponse(ResponseModel):
    """Which code answers."""

    service_version: str
    """Version of the code."""
    schema_version: int
    """Version of the report schema."""
    intended_use: str
    """What the service is for, and what it is not for."""
