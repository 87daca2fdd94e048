"""What the service is sent and answers, as types; at run time these are the dicts of the JSON.

Written from openapi/openapi.json by ``make references``; edit that, not this. A newer service may
answer with more keys than are named here.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

ExportFormat: TypeAlias = Literal["csv", "parquet"]
"""Form of a table."""

JobStatus: TypeAlias = Literal["queued", "running", "succeeded", "failed", "cancelled"]
"""How far a job has come."""

MaskFormat: TypeAlias = Literal["dicom", "nifti"]
"""File format of a mask."""

Priority: TypeAlias = Literal["stat", "routine"]
"""Which jobs are begun first."""

PushState: TypeAlias = Literal["pending", "sent", "unconfirmed", "committed", "failed"]
"""How far a push has come."""

RaceOrEthnicity: TypeAlias = Literal["white", "chinese", "black", "hispanic"]
"""The groups of MESA, in its words."""

ReportFormat: TypeAlias = Literal["json", "sr", "pdf", "fhir", "csv"]
"""Form of a report."""

Sex: TypeAlias = Literal["female", "male"]
"""The sexes that reference groups tell apart."""

Stage: TypeAlias = Literal["waiting", "reading", "segmenting", "measuring", "writing", "finished"]
"""What a worker is doing with a study."""


class Artefact(TypedDict):
    """A file of a result."""

    name: str
    """`report.json`, `mask.dcm`, `report.dcm` (SR), `key-image-1.dcm`, `provenance.json`, …"""
    media_type: str
    """`application/dicom`, `application/json`, `application/pdf`, `application/fhir+json`, …"""
    size_bytes: int
    """Size of the file."""
    sha256: str
    """SHA-256 of the file, in hex."""
    href: str
    """Path from which it is fetched."""


class Artefacts(TypedDict):
    """The files of a result."""

    artifacts: list[Artefact]
    """Each file once; the record of where they come from is the last."""


class Arteries(TypedDict):
    """Scores per coronary artery; null where the model does not tell arteries apart."""

    LM: CalciumScores | None
    """Left main."""
    LAD: CalciumScores | None
    """Left anterior descending."""
    LCX: CalciumScores | None
    """Left circumflex."""
    RCA: CalciumScores | None
    """Right coronary artery."""


class CalciumReport(TypedDict):
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
    interpolated_volume_score_mm3: float
    """Volume of calcium in mm³, interpolated between slices (Callister 1998)."""
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
    uncertainty: Uncertainty | None
    """What a repeat scan would score; null where it was not asked for, as in a phantom's truth."""
    categories: Categories
    """What the score means, by published tables and equations, each with its source."""
    category_stable: bool
    """Whether every convention agrees on risk category and CAC-DRS category."""
    conventions: list[Convention]
    """The same calcium under every other named convention."""
    arteries: Arteries
    """Scores per artery."""
    lesions: list[Lesion]
    """Every lesion, from the lowest upwards."""
    components: Components | None
    """What became of every voxel of at least the threshold where calcium was looked for; null
    where whoever segmented kept no account.
    """
    series: Series
    """The series that was scored."""
    protocol: ScoringProtocol
    model: Model | None
    """The network; null where a reader's own mask was measured."""
    engine: Engine | None
    """What ran the network; null where a reader's own mask was measured."""
    warnings: list[SeriesWarning]
    """What a reader of the score should know."""
    other_series: list[OtherSeries]
    """Series of the upload that were not scored, and why."""
    left_out_files: list[LeftOutFile]
    """Files of the upload that were not used, and why."""


class CalciumScores(TypedDict):
    """The scores of one artery."""

    agatston_score: float
    """Agatston score, dimensionless, scaled to 3 mm slice spacing."""
    volume_score_mm3: float
    """Volume of calcium in mm³, without interpolation."""
    interpolated_volume_score_mm3: float
    """Volume of calcium in mm³, interpolated between slices (Callister 1998)."""
    mass_score_mg: float | None
    """Mass of calcium in mg hydroxyapatite; null without a calibration factor."""
    lesion_count: int
    """Number of lesions, joined across slices."""


class Categories(TypedDict):
    """What a score means, by published tables and equations, each with its source."""

    patient: Patient
    """What is known of the patient."""
    risk_category: NamedCategory
    """0, 1-10, 11-100, 101-400 or >400."""
    cac_drs: NamedCategory
    """CAC-DRS of score and number of vessels, such as `A2/N3`."""
    hoff_percentile: Percentile
    """Among people of the same age group and sex."""
    mesa_percentile: Percentile
    """Among people of the same age, sex, and race or ethnicity."""
    arterial_age_years: NumberCategory
    """Age at which the usual risk is that of this score."""
    mesa_10_year_chd_risk_percent: NumberCategory
    """Probability of a coronary event within ten years, in percent; needs risk factors."""


class Check(TypedDict):
    """One thing that an upload needs."""

    name: Literal["database", "broker", "artefact_folder", "model_file", "worker"]
    """What was checked; `worker` is not ok where no worker would score a study that came now."""
    is_ok: bool
    """Whether the check passed."""
    detail: str | None
    """What is wrong; null when nothing is."""


class Components(TypedDict):
    """What became of every voxel of at least the threshold: in a lesion, or left out and why."""

    searched: Literal["heart_region", "whole_scan", "mask"]
    """Where calcium was looked for; `mask` where a reader's own mask was measured."""
    threshold_hu: float
    """Attenuation in HU from which a voxel is in this account."""
    voxel_count: int
    """Voxels of at least the threshold in the searched part."""
    kept_voxel_count: int
    """Those in the lesions of the report."""
    rejected_voxel_count: int
    """Those that are not in the score; both counts add up to `voxel_count`."""
    rejected_count: dict[str, int]
    """Number of rejected components for each reason."""
    kept: list[KeptComponent]
    """One entry for each lesion of the report."""
    rejected: list[RejectedComponent]
    """Every other component, complete."""


class Convention(TypedDict):
    """The same calcium under another convention."""

    agatston_score: float
    """Agatston score, dimensionless, scaled to 3 mm slice spacing."""
    volume_score_mm3: float
    """Volume of calcium in mm³, without interpolation."""
    interpolated_volume_score_mm3: float
    """Volume of calcium in mm³, interpolated between slices (Callister 1998)."""
    mass_score_mg: float | None
    """Mass of calcium in mg hydroxyapatite; null without a calibration factor."""
    lesion_count: int
    """Number of lesions, joined across slices."""
    name: str
    """Name of the convention, such as `siemens`."""
    risk_category: Literal["0", "1-10", "11-100", "101-400", ">400"]
    """Category of its Agatston score."""
    cac_drs_category: Literal["A0", "A1", "A2", "A3"]
    """CAC-DRS category of its Agatston score."""
    category_stable: bool
    """Whether both categories are those of the report."""
    protocol: ScoringProtocol
    """Its rules, with the thresholds of the tube voltage."""


class Engine(TypedDict):
    """What ran the network."""

    runtime: str
    """Name of the runtime: `onnxruntime`."""
    version: str
    """Version of the runtime."""
    providers: list[str]
    """Execution providers that the session really got, the one that ran the network first."""


class Health(TypedDict):
    """The process answers."""

    status: Literal["ok"]
    """Always `ok`."""


class JobEvent(TypedDict):
    """Data of a server-sent event: what a study had come to at a moment."""

    study_id: str
    """`id` of the study."""
    number: int
    """1, 2, ... within the study; the `id` of the event."""
    job_number: int
    """Which job of the study it happened to."""
    status: JobStatus
    """`queued`, `running`, `succeeded`, `failed` or `cancelled`."""
    stage: Stage
    """What is being done."""
    progress: float
    """Share of the work that is done."""
    attempt: int
    """Attempts begun so far."""
    problem_code: str | None
    """Why it failed; null unless the status is `failed`."""
    created_at: str
    """When it happened, UTC."""


class KeptComponent(TypedDict):
    """What the network said of a lesion of the report."""

    lesion_id: int
    """The `id` of the lesion in `lesions`."""
    voxel_count: int
    """Number of its voxels."""
    mean_probability: float | None
    """Mean probability of coronary calcium over its voxels; null where no network was asked."""
    max_probability: float | None
    """Highest probability of any of its voxels."""
    kind: Literal["LM", "LAD", "LCX", "RCA", "AORTA", "VALVE", "OTHER"] | None
    """What the network calls most of its voxels; null where it names nothing."""
    kind_share: float | None
    """Share of its voxels that it calls so, 0 to 1."""


class LeftOutFile(TypedDict):
    """A file of the upload, or a frame of one, that was not used."""

    number: int
    """Which file of the upload, counted from 1: in the order of the archive (without folders and
    what operating systems leave behind), or of the names in a folder. Names may hold a
    patient's name and are not repeated.
    """
    frame_number: int | None
    """Which of its frames, counted from 1; null where the whole file was left out."""
    kind: str | None
    """Name of its SOP class; null where that is unknown or the file is not DICOM."""
    reason: str
    """Why it was left out."""


class Lesion(TypedDict):
    """Calcium that overlaps from slice to slice."""

    id: int
    """Counts from 1 within the report, from the lowest slice upwards."""
    tracking_uid: str | None
    """The same in DICOM SEG and SR; follows from series and voxels. Null without a series UID."""
    artery: Literal["LM", "LAD", "LCX", "RCA"] | None
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
    """Volume in mm³, without interpolation."""
    interpolated_volume_score_mm3: float
    """Volume in mm³, interpolated between slices (Callister 1998)."""
    mass_score_mg: float | None
    """Mass in mg hydroxyapatite; null without a calibration factor."""
    peak_hu: float
    """Highest attenuation in HU."""
    mean_hu: float
    """Mean attenuation over its voxels in HU."""
    density_weight: int
    """Weight of its highest peak; the score weighs each slice by its own, see `slices`."""
    agatston_score: float
    """Its share of the Agatston score."""
    centroid_lps_mm: list[float]
    """Mean position of its voxels in mm: to the patient's left, to posterior, to superior."""
    slices: list[SliceLesion]
    """Its parts, slice by slice; a slice may hold several."""


class Model(TypedDict):
    """The network that found the calcium."""

    name: str
    """Name of the network."""
    version: str
    """Version of its weights."""
    sha256: str
    """SHA-256 of the model file, hex."""
    is_provisional: bool
    """True for a network that shows how the service works and was not validated."""


class NamedCategory(TypedDict):
    """A category that has a name."""

    value: str | None
    """The category; null where something that it needs is not known."""
    source: str
    """Where it was published."""
    reason: str | None
    """Why it is null; null where it is not."""


class NumberCategory(TypedDict):
    """A number that follows from the score."""

    value: float | None
    """Unrounded, in the unit of the field's name; null where something is not known."""
    source: str
    """Where it was published."""
    reason: str | None
    """Why it is null; null where it is not."""


class OtherSeries(TypedDict):
    """A series of the upload that was not scored."""

    series_instance_uid: str | None
    """Series Instance UID; null where it is missing."""
    series_description: str | None
    """Series Description, as sent."""
    slice_count: int
    """Number of images."""
    reason: str
    """Why it was not chosen."""


class Patient(TypedDict):
    """What is known of the patient; no name, number or date."""

    age_years: int | None
    """Age at the study in completed years; null where it is not known."""
    age_source: str
    """Where the age is from, or why it is not known."""
    sex: Sex | None
    """Sex; null where it is not known."""
    sex_source: str
    """Where the sex is from, or why it is not known."""
    race_or_ethnicity: RaceOrEthnicity | None
    """As given, in the words of MESA; never taken from the header."""


class Percentile(TypedDict):
    """Between which published percentiles of a reference group the score lies."""

    value: Literal["0", "0-25", "25-50", "50-75", "75-90", "90-100"] | None
    """Band of the score, its upper bound included; `0` is a score of 0. Null where not known."""
    reference_group: str | None
    """Whom the score is compared with."""
    reference_scores: list[ReferenceScore] | None
    """The scores of that group."""
    age_method: (
        Literal["age_group", "published_age", "interpolated_age", "nearest_published_age"] | None
    )
    """How the table was read: a row for a range of ages, for this very age, between the rows of
    two ages, or the row of the nearest age.
    """
    source: str
    """Where it was published."""
    reason: str | None
    """Why it is null; null where it is not."""


class ProblemDocument(TypedDict):
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
    evidence: dict[str, Any]
    """The same facts for machines; its keys depend on the code."""


class Push(TypedDict):
    """Results of a study on their way to a destination."""

    destination: str
    """Name of the destination in the settings of the service."""
    state: PushState
    """`pending`, `sent`, `committed` (the destination keeps them for good), `unconfirmed` (it was
    asked whether it does and never said) or `failed`.
    """
    version: int
    """Which result of the study is sent."""
    attempt: int
    """Attempts begun so far."""
    requested_at: str
    """When the push was last asked for, UTC: by the end of scoring, or by `push`."""
    next_attempt_at: str | None
    """When it is tried next, UTC, or, where it was sent, when the destination is asked again
    whether it keeps it; null once it is over.
    """
    sent_at: str | None
    """When the destination had every object, UTC; null before."""
    committed_at: str | None
    """When it committed to keeping them, UTC; null before, and where it is not asked to."""
    detail: str | None
    """What came of the latest attempt; the reason where it failed. Null before the first one."""


class PushRequest(TypedDict):
    """Where results are to be sent."""

    to: str
    """Name of a destination in the settings of the service."""


class Readiness(TypedDict):
    """Whether an upload sent now would be accepted, and whether waiting studies are taken up."""

    is_ready: bool
    """True when every check passed."""
    checks: list[Check]
    """Each check."""
    free_bytes: int | None
    """Room where uploads arrive; null where it cannot be asked."""
    workers: list[Worker]
    """Every scoring process that was seen within the last hour; empty where the record is away."""


class ReferenceScore(TypedDict):
    """The score of a reference group at a percentile."""

    percentile: int
    """25, 50, 75 or 90."""
    agatston_score: float
    """So many percent of the group have at most this score."""


class RejectedComponent(TypedDict):
    """Connected voxels of at least the threshold that are not in the score."""

    id: int
    """Counts from 1 within the report, the highest `agatston_score_if_kept` first."""
    reason: Literal[
        "edge_of_region", "rim_of_lesion", "too_small", "below_probability", "outside_mask"
    ]
    """Why it is not in the score.

    `edge_of_region`: it goes on beyond the searched part, as bone does. `rim_of_lesion`: it
    touches a lesion within a slice, and the mask ends between them. `too_small`: within no
    slice is it as large as the smallest lesion. `below_probability`: the network does not take
    it for coronary calcium. `outside_mask`: not in a reader's mask.
    """
    first_slice_index: int
    """Lowest slice that it reaches; slice 0 is the lowest of the series."""
    last_slice_index: int
    """Highest slice that it reaches."""
    centroid_lps_mm: list[float]
    """Mean position of its voxels in mm: to the patient's left, to posterior, to superior."""
    voxel_count: int
    """Number of voxels."""
    area_mm2: float
    """Area in mm², summed over slices."""
    largest_area_mm2: float
    """Area in mm² of its largest region within a slice, held against the smallest lesion."""
    volume_mm3: float
    """Volume in mm³."""
    peak_hu: float
    """Highest attenuation in HU."""
    mean_hu: float
    """Mean attenuation in HU."""
    agatston_score_if_kept: float
    """Agatston score that it would have by itself, were it in the mask."""
    marked_voxel_count: int
    """Voxels that are in the mask all the same: their region is too small to count."""
    touched_lesion_ids: list[int]
    """Lesions that it touches within a slice."""
    continues_outside: bool
    """Whether a voxel beyond the heart region that reaches the threshold touches it."""
    mean_probability: float | None
    """Mean probability of coronary calcium over its voxels; null where no network was asked."""
    max_probability: float | None
    """Highest probability of any of its voxels."""
    kind: Literal["LM", "LAD", "LCX", "RCA", "AORTA", "VALVE", "OTHER"] | None
    """What the network calls most of its voxels; null where it names nothing."""
    kind_share: float | None
    """Share of its voxels that it calls so, 0 to 1."""


class RerunRequest(TypedDict):
    """How a study is to be scored once more; what is left out is as the worker is set."""

    protocol: NotRequired[
        Literal["literature", "ge", "siemens", "philips", "canon", "orcascore", "ai_cac", "deepcac"]
        | None
    ]
    """Named convention of the score."""
    tube_voltage_table: NotRequired[Literal["constant_130", "grani_2018", "fqm_2021"] | None]
    """Named table of HU thresholds by tube voltage."""
    priority: NotRequired[Priority]
    """`stat` is begun before `routine`."""
    callback_url: NotRequired[str | None]
    """Is told of the end; by default the URL of the job before."""


class ResultVersion(TypedDict):
    """One result of a study."""

    version: int
    """Pass it as `version` to get the score, mask or pictures of this result."""
    created_at: str
    """When it was made, UTC."""
    agatston_score: float
    """Unrounded."""
    model_name: str
    """Network that found the calcium."""
    model_version: str
    """Its version."""
    model_sha256: str
    """SHA-256 of its file, in hex."""
    protocol: (
        Literal["literature", "ge", "siemens", "philips", "canon", "orcascore", "ai_cac", "deepcac"]
        | None
    )
    """Convention that was asked for; null for the one that the worker was set to."""
    tube_voltage_table: Literal["constant_130", "grani_2018", "fqm_2021"] | None
    """Table of thresholds that was asked for; null for the one that the worker was set to."""


class ResultVersions(TypedDict):
    """All results of a study."""

    results: list[ResultVersion]
    """The newest first; empty while there is none."""


class Risk(TypedDict):
    """What the score of a study means for a patient."""

    intended_use: str
    """What the answer is for, and what it is not for."""
    agatston_score: float
    """Agatston score of the study's report; unrounded."""
    categories: Categories
    """Every category of the score, with what was given of the patient."""


class RiskFactorsRequest(TypedDict):
    """What the MESA equation needs beside age, sex, race or ethnicity, and score.

    The ranges refuse slips, such as mmol/L in place of mg/dL; they are our choice.
    """

    has_diabetes: bool
    """Whether the patient has diabetes."""
    is_current_smoker: bool
    """Whether the patient smokes."""
    total_cholesterol_mg_per_dl: float
    """Total cholesterol in mg/dL (1 mmol/L is 38.67 mg/dL)."""
    hdl_cholesterol_mg_per_dl: float
    """HDL cholesterol in mg/dL, below the total."""
    takes_lipid_medication: bool
    """Whether the patient takes lipid-lowering medication."""
    systolic_blood_pressure_mmhg: float
    """Systolic blood pressure in mmHg."""
    takes_blood_pressure_medication: bool
    """Whether the patient takes medication for high blood pressure."""
    has_family_history_of_heart_attack: bool
    """Whether a heart attack occurred in the family."""


class RiskRequest(TypedDict):
    """What is known of a patient; nothing of it is stored or logged."""

    age_years: NotRequired[int | None]
    """Age at the study in completed years; by default that of the header."""
    sex: NotRequired[Sex | None]
    """Sex; by default that of the header."""
    race_or_ethnicity: NotRequired[RaceOrEthnicity | None]
    """In the words of MESA; needed for its percentile and risk."""
    risk_factors: NotRequired[RiskFactorsRequest | None]
    """Needed for the ten-year risk, with age 45 to 85, sex, and race or ethnicity."""


class ScoringProtocol(TypedDict):
    """The rules of the score."""

    name: str
    """Name of the rule set."""
    threshold_hu: float
    """Voxels below it are not calcium, in HU."""
    density_weight_bounds_hu: list[float]
    """Peaks from which the density weight is 1, 2, 3 and 4, in HU."""
    min_lesion_area_mm2: float
    """Smaller regions within a slice are noise, in mm²."""
    in_plane_connectivity: Literal[4, 8]
    """Whether pixels that touch at a corner belong together (8) or not (4), slice by slice."""
    min_lesion_pixel_count: int
    """Regions of fewer pixels are noise; of fewer voxels, where regions cross slices."""
    is_threshold_inclusive: bool
    """Whether a voxel exactly at the threshold is calcium."""
    connectivity_3d: Literal[6, 18, 26] | None
    """Neighbours of a voxel where regions cross slices; null where they lie within one."""
    peak_over: Literal["slice", "lesion"]
    """Whose peak weighs a region within a slice: its own, or that of the whole lesion."""
    tube_voltage_table: str
    """Table by which threshold and bounds follow the tube voltage."""
    source: str | None
    """Where the rules were read; null for rules of the user's own."""


class Series(TypedDict):
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
    pixel_spacing_mm: list[float]
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
    """mg/(cm³ HU), from the settings; null without calibration."""
    calcium_scoring_mass_factor_patient: float | None
    """DICOM (0018,9351) as stated; used by nothing, as the standard names no unit."""
    calcium_scoring_mass_factor_device: list[float] | None
    """DICOM (0018,9352) as stated, for a small, medium and large patient; used by nothing."""


class SeriesWarning(TypedDict):
    """Something that a reader of the score should know."""

    code: str
    """Stable name of the warning, such as `kvp_not_120`."""
    message: str
    """The warning in words."""
    evidence: dict[str, Any]
    """The same facts for machines; its keys depend on the code."""


class SliceLesion(TypedDict):
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
    density_weight: int
    """Agatston's weight from the peak of this part: 1 to 4."""
    agatston_score: float
    """Its share of the Agatston score, scaled to 3 mm slice spacing."""


class Study(TypedDict):
    """An upload and how far its scoring has come."""

    id: str
    """Opaque; the same bytes always have the same id."""
    status: JobStatus
    """`queued`, `running`, `succeeded`, `failed` or `cancelled`."""
    stage: Stage
    """What is being done."""
    progress: float
    """Share of the work that is done, 0 to 1; starts again with each attempt."""
    attempt: int
    """Attempts begun so far; more than one means that a worker was lost or a dependency away."""
    upload_size_bytes: int
    """Size of the uploaded archive in bytes."""
    created_at: str
    """When the upload was accepted, UTC."""
    updated_at: str
    """When the record of the study last changed, UTC."""
    started_at: str | None
    """When the latest attempt began, UTC; null while it waits."""
    finished_at: str | None
    """When scoring succeeded, failed or was cancelled, UTC; null before."""
    problem: StudyProblem | None
    """Why it failed; null unless the status is `failed`."""
    job_number: int
    """Which job of the study this is; a retry or rerun begins the next, and makes this version."""
    priority: Priority
    """`stat` is begun before `routine`."""
    queue_position: int | None
    """1 for the study that is begun next; null unless it is queued."""
    eta_s: float | None
    """Seconds until scoring has probably ended, from the median of the latest 20 scored studies;
    null once it has, and while none was scored yet.
    """
    pushes: list[Push]
    """Where results went: the latest push to each destination, by name."""


class StudyPage(TypedDict):
    """Some studies, the newest first."""

    studies: list[Study]
    """At most `limit` of them."""
    next_cursor: str | None
    """Pass it as `cursor` to get the next page; null on the last one."""


class StudyProblem(TypedDict):
    """Why a study could not be scored."""

    type: str
    """URI of the kind of problem: `urn:cacscore:problem:` and the code."""
    title: str
    """The kind of problem in words."""
    detail: str
    """What was found, where, and what would be accepted."""
    code: str
    """Stable name of the kind of problem."""
    evidence: dict[str, Any]
    """The same facts for machines; its keys depend on the code."""


class Uncertainty(TypedDict):
    """What a repeat scan of the same patient would score, from this scan's noise and voxel grid.

    Motion, another scanner and calcium that the network did not mark are not in it (ADR 0016).
    """

    level: float | None
    """Share of repeat scans whose score should lie in the interval; null, as all below, where
    nothing can be said, see `reason`.
    """
    low: float | None
    """Lower end of the interval of the Agatston score."""
    high: float | None
    """Upper end."""
    probability_above_zero: float | None
    """Probability that a repeat scan scores above 0."""
    risk_category_probabilities: dict[str, float] | None
    """Probability of each risk category in a repeat scan; they add up to 1."""
    noise_sd_hu: float | None
    """Noise of this scan in HU, measured in its soft tissue near the calcium."""
    draw_count: int | None
    """How often the scan was drawn anew."""
    reason: (
        Literal["nothing_marked", "noise_unknown", "mask_too_large", "protocol_across_slices"]
        | None
    )
    """Why nothing can be said: no voxel was marked, too little soft tissue to measure the noise,
    more marked than a heart can hold, or a protocol that forms lesions across slices. Null
    where something is said.
    """
    published_variability: float
    """Mean difference of two scans relative to the score, as published: 0.1345."""
    published_variability_source: str
    """Where that was published, and for which scans."""


class Version(TypedDict):
    """Which code answers."""

    service_version: str
    """Version of the code."""
    schema_version: int
    """Version of the report schema."""
    intended_use: str
    """What the service is for, and what it is not for."""


class Worker(TypedDict):
    """What a scoring process last said of itself."""

    state: Literal["loading", "ready", "unavailable", "lost"]
    """`unavailable`: it cannot load its model. `lost`: silent for CACSCORE_WORKER_LOST_S."""
    model_name: str | None
    """Name of the network; null until it is loaded."""
    model_version: str | None
    """Version of the network; null until it is loaded."""
    execution_provider: str | None
    """What the network really runs on, by ONNX Runtime's name; null until it is loaded."""
    detail: str | None
    """Why the model cannot be loaded; null otherwise."""
    started_at: str
    """When it was first seen."""
    seen_at: str
    """When it was last seen."""
