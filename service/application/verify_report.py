"""Whether a report follows from its mask and its series, without any network.

Everything that mask and series decide is measured again and compared, value by value. What they
cannot decide is named, with the reason, rather than passed over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from math import isclose
from typing import Any, Final, Literal

from calcium_scoring.dicom.read_segmentation import SegmentationOrigin
from calcium_scoring.dicom.read_series import CtSeries
from calcium_scoring.scoring.conventions import CONVENTIONS
from calcium_scoring.scoring.percentiles import RaceOrEthnicity
from calcium_scoring.scoring.protocol import ScoringProtocol
from calcium_scoring.scoring.report import measure_calcium
from calcium_scoring.scoring.tube_voltage import TUBE_VOLTAGE_TABLES
from calcium_scoring.scoring.uncertainty import score_uncertainty
from calcium_scoring.volume.label_map import LabelMap
from calcium_scoring.volume.patient import Sex
from service.application.categories import GIVEN, NOTHING_GIVEN, GivenFacts
from service.application.errors import ReportRejected
from service.application.report_document import report_document
from service.application.report_terms import SCHEMA_VERSION, ReportDocument

RELATIVE_TOLERANCE: Final = 1e-9
"""Numbers may differ by so much: sums in another order round otherwise. Our choice."""

UNCERTAINTY_TOLERANCE: Final = 0.02
"""The interval is drawn at random, from a seed that mask and series decide; another processor may
round a draw to the other side of the threshold. Relative, and absolute for probabilities."""

NOT_RECOMPUTED: Final[Mapping[str, str]] = {
    "service_version": "says which code wrote the report",
    "intended_use": "words",
    "engine": "mask and series do not tell what ran the network",
    "model": "mask and series do not tell it; compared with what the SEG says of its origin",
    "warnings": "some come from the network",
    "other_series": "depends on what else was in the upload",
    "left_out_files": "depends on what else was in the upload",
    "uncertainty": "drawn at random; compared within 2 %",
    "components": "needs the heart region and the network; its sums and what it keeps are compared",
}
"""Parts of a report that mask and series alone do not decide, and why."""

_SEXES: Final = tuple(sex.value for sex in Sex)
_GROUPS: Final = tuple(group.value for group in RaceOrEthnicity)
_ACCOUNT_SUMS: Final = ("kept_voxel_count", "rejected_voxel_count", "voxel_count")


@dataclass(frozen=True)
class Difference:
    """One value that is not what mask and series give."""

    field: str
    """Path within the report, such as ``lesions[2].peak_hu``."""
    kind: Literal["value", "absent_from_report", "only_in_report"]
    reported: object
    recomputed: object


@dataclass(frozen=True)
class Verification:
    """What was compared and what differed."""

    protocol: ScoringProtocol
    compared_count: int
    differences: tuple[Difference, ...]

    @property
    def is_equal(self) -> bool:
        """Whether the report follows from mask and series."""
        return not self.differences


def verify_report(
    document: ReportDocument,
    label_map: LabelMap,
    series: CtSeries,
    origin: SegmentationOrigin,
) -> Verification:
    """Measure mask and series again and compare with a report.

    What a user chose or gave is taken from the report: the named protocol and its tube voltage
    table, the mass calibration factor, and age, sex and group where they were given.

    Parameters
    ----------
    document
        The report as JSON values.
    label_map, origin
        What its SEG holds, on the grid of the series, and what it says of itself.
    series
        The series that the report says it scored.

    Raises
    ------
    ReportRejected
        The document is no report of this schema, or names a protocol, table or group that is not
        known.
    """
    protocol = _protocol_of(document)
    arteries = document["arteries"]
    volume = replace(series.volume, mass_calibration_factor=_mass_factor_of(document))
    report = measure_calcium(
        volume,
        label_map,
        protocol=protocol,
        has_artery_labels=any(scores is not None for scores in arteries.values()),
        conventions=CONVENTIONS.values(),
    )
    recomputed = report_document(
        report,
        volume,
        model=None,
        uncertainty=score_uncertainty(
            volume, label_map, report.protocol, report.total.agatston_score
        ),
        given=_given_of(document),
    )
    ours = {name: value for name, value in recomputed.items() if name not in NOT_RECOMPUTED}
    theirs = {name: value for name, value in document.items() if name not in NOT_RECOMPUTED}
    checks = [
        *_compare("", theirs, ours),
        *_compare_components(document, ours),
        *_compare_uncertainty(document, recomputed),
        *_compare_origin(document, series, origin),
    ]
    return Verification(
        report.protocol,
        compared_count=len(checks),
        differences=tuple(check for check in checks if check is not None),
    )


def _protocol_of(document: ReportDocument) -> ScoringProtocol:
    version = document.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ReportRejected(
            f"The report has schema version {version!r}; this cacscore verifies version "
            f"{SCHEMA_VERSION}.",
            found=version,
            accepted=SCHEMA_VERSION,
        )
    protocol = document.get("protocol")
    if not isinstance(protocol, dict) or not isinstance(document.get("arteries"), dict):
        raise ReportRejected(
            "The file is no report of cacscore: protocol or arteries are missing in it."
        )
    name = _known(protocol, "name", CONVENTIONS)
    table = _known(protocol, "tube_voltage_table", TUBE_VOLTAGE_TABLES)
    return replace(CONVENTIONS[name], tube_voltage_table=table)


def _known(values: Mapping[str, Any], field: str, accepted: Collection[str]) -> str:
    """Return a name that this cacscore knows."""
    found = values.get(field)
    if not isinstance(found, str) or found not in accepted:
        raise ReportRejected(
            f"The report has the {field} {found!r}; this cacscore knows {', '.join(accepted)}.",
            field=field,
            found=found,
            accepted=list(accepted),
        )
    return found


def _mass_factor_of(document: ReportDocument) -> float | None:
    series = document.get("series")
    factor = series.get("mass_calibration_factor") if isinstance(series, dict) else None
    return float(factor) if isinstance(factor, int | float) else None


def _given_of(document: ReportDocument) -> GivenFacts:
    """Return what a user said about the patient; what the header says is read from the header."""
    categories = document.get("categories")
    patient = categories.get("patient") if isinstance(categories, dict) else None
    if not isinstance(patient, dict):
        return NOTHING_GIVEN
    age, group = patient.get("age_years"), patient.get("race_or_ethnicity")
    return GivenFacts(
        age_years=age if patient.get("age_source") == GIVEN and isinstance(age, int) else None,
        sex=Sex(_known(patient, "sex", _SEXES)) if patient.get("sex_source") == GIVEN else None,
        race_or_ethnicity=(
            None
            if group is None
            else RaceOrEthnicity(_known(patient, "race_or_ethnicity", _GROUPS))
        ),
    )


def _compare(field: str, reported: object, recomputed: object) -> Iterator[Difference | None]:
    """Yield a difference, or None for equality, for each value below a field."""
    if isinstance(reported, dict) and isinstance(recomputed, dict):
        for name in sorted(reported.keys() | recomputed.keys()):
            below = f"{field}.{name}" if field else name
            if name not in reported:
                yield Difference(below, "absent_from_report", None, recomputed[name])
            elif name not in recomputed:
                yield Difference(below, "only_in_report", reported[name], None)
            else:
                yield from _compare(below, reported[name], recomputed[name])
    elif isinstance(reported, list) and isinstance(recomputed, list):
        for index in range(max(len(reported), len(recomputed))):
            below = f"{field}[{index}]"
            if index >= len(reported):
                yield Difference(below, "absent_from_report", None, recomputed[index])
            elif index >= len(recomputed):
                yield Difference(below, "only_in_report", reported[index], None)
            else:
                yield from _compare(below, reported[index], recomputed[index])
        if not reported and not recomputed:
            yield None
    else:
        is_same = _is_same(reported, recomputed)
        yield None if is_same else Difference(field, "value", reported, recomputed)


def _is_same(reported: object, recomputed: object, tolerance: float = RELATIVE_TOLERANCE) -> bool:
    if isinstance(reported, bool) or isinstance(recomputed, bool):
        return reported is recomputed
    if isinstance(reported, int | float) and isinstance(recomputed, int | float):
        return isclose(reported, recomputed, rel_tol=tolerance, abs_tol=tolerance)
    return type(reported) is type(recomputed) and reported == recomputed


def _compare_components(
    document: ReportDocument, recomputed: ReportDocument
) -> Iterator[Difference | None]:
    """Compare what the account of components keeps, and whether its sums come out."""
    account = document.get("components")
    if not isinstance(account, dict):
        return
    lesions, volume_mm3 = recomputed["lesions"], _voxel_volume_mm3(recomputed)
    counts = [round(lesion["volume_score_mm3"] / volume_mm3) for lesion in lesions]
    rejected_count = sum(_voxel_counts(account.get("rejected")))
    yield from _compare(
        "components",
        {
            "kept_voxel_counts": _voxel_counts(account.get("kept")),
            **{name: account.get(name) for name in _ACCOUNT_SUMS},
        },
        {
            "kept_voxel_counts": counts,
            "kept_voxel_count": sum(counts),
            "rejected_voxel_count": rejected_count,
            "voxel_count": sum(counts) + rejected_count,
        },
    )


def _voxel_counts(entries: object) -> list[int]:
    """Return the voxel counts of what should be a list of components; 0 where there is none."""
    if not isinstance(entries, list):
        return []
    counts = [one.get("voxel_count") if isinstance(one, dict) else None for one in entries]
    return [count if isinstance(count, int) else 0 for count in counts]


def _voxel_volume_mm3(document: ReportDocument) -> float:
    row_mm, column_mm = document["series"]["pixel_spacing_mm"]
    return float(document["series"]["spacing_between_slices_mm"] * row_mm * column_mm)


def _compare_uncertainty(
    document: ReportDocument, recomputed: ReportDocument
) -> Iterator[Difference | None]:
    reported, ours = document.get("uncertainty"), recomputed["uncertainty"]
    if reported is None:
        return
    for found in _compare("uncertainty", reported, ours):
        if found is not None and found.kind == "value":
            is_near = _is_same(found.reported, found.recomputed, UNCERTAINTY_TOLERANCE)
            yield None if is_near else found
        else:
            yield found


def _compare_origin(
    document: ReportDocument, series: CtSeries, origin: SegmentationOrigin
) -> Iterator[Difference | None]:
    """Compare series and model with what the SEG says of its origin, where it says something."""
    identity = series.volume.identity
    if origin.series_instance_uids and identity is not None:
        is_ours = identity.series_instance_uid in origin.series_instance_uids
        yield (
            None
            if is_ours
            else Difference(
                "segmentation.referenced_series_instance_uid",
                "value",
                sorted(origin.series_instance_uids),
                identity.series_instance_uid,
            )
        )
    model: Any = document.get("model")
    if isinstance(model, dict):
        for name, said in (
            ("name", origin.model_name),
            ("version", origin.model_version),
            ("sha256", origin.model_sha256),
        ):
            if said is not None:
                yield from _compare(f"model.{name}", model.get(name), said)
