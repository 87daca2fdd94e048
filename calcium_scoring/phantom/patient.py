"""A procedural patient in the scanner: a CT volume whose coronary calcium is exactly known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calcium_scoring.phantom.acquisition import Scanner
from calcium_scoring.phantom.anatomy import build_anatomy
from calcium_scoring.phantom.confusers import CONFUSER_KINDS, sample_confusers
from calcium_scoring.phantom.deposits import Deposit, DepositImage, image_of
from calcium_scoring.phantom.exposure import Exposure
from calcium_scoring.phantom.metal import MetalPart, image_of_metal, sample_metal
from calcium_scoring.phantom.plaque import sample_plaques
from calcium_scoring.phantom.settings import (
    PatientSettings,
    ScanSettings,
    sample_patient,
    sample_scan,
)
from calcium_scoring.phantom.shapes import rotation
from calcium_scoring.volume.ct_volume import CtAcquisition, CtVolume
from calcium_scoring.volume.label_map import LabelMap


@dataclass(frozen=True, eq=False)
class PhantomPatient:
    """A scan and the truth about it.

    ``truth`` labels coronary calcium by this rule. A voxel is a candidate if its scanned HU is at
    least 130, the noise-free image of the plaques adds at least ``REACH_EXCESS_HU`` to it, and the
    plaques add more than other calcium or bone does. Candidates that are 8-connected within
    their slice to one where the plaques add ``SEED_EXCESS_HU`` are labelled, with the artery whose
    plaques add most. Plaque too faint to reach 130 HU is in ``plaques`` but not in ``truth``.

    ``structures`` (slice, row, column), uint8, labels other dense things (:class:`Structure`),
    whatever their scanned HU. ``heart`` (slice, row, column), bool, is True inside the pericardial
    sac: chambers, muscle, epicardial fat, coronary arteries and the root of the great vessels.
    """

    seed: int
    patient_settings: PatientSettings
    scan_settings: ScanSettings
    volume: CtVolume
    truth: LabelMap
    structures: NDArray[np.uint8]
    heart: NDArray[np.bool_]
    plaques: tuple[Deposit, ...]
    confusers: tuple[Deposit, ...]
    metal: tuple[MetalPart, ...]


def simulate_patient(
    seed: int,
    *,
    patient_settings: PatientSettings | None = None,
    scan_settings: ScanSettings | None = None,
    **overrides: Any,  # noqa: ANN401 - any field of the two settings
) -> PhantomPatient:
    """Return the patient of a seed in a scan; the same arguments give the same bytes.

    Parameters
    ----------
    seed
        Not negative. Settings that are not given are drawn from it.
    patient_settings, scan_settings
        Taken as they are; then the seed only draws what settings leave open.
    overrides
        Fields of :class:`PatientSettings` or :class:`ScanSettings`, for drawn settings only.
    """
    patient, scan = _settings(seed, patient_settings, scan_settings, overrides)
    streams = np.random.SeedSequence([seed, 3]).spawn(8)
    anatomy = build_anatomy(patient, streams[0].spawn(5))
    plaques = sample_plaques(
        anatomy.coronaries,
        burden_category=patient.burden_category,
        body_scale=patient.body_scale,
        rng=np.random.default_rng(streams[1]),
    )
    confusers = sample_confusers(
        anatomy, body_scale=patient.body_scale, streams=streams[2].spawn(CONFUSER_KINDS)
    )
    metal = sample_metal(anatomy, body_scale=patient.body_scale, stream=streams[5])
    scanner = Scanner(scan, _scan_centre(patient, scan))
    metal_images = (image_of_metal(part, scanner) for part in metal)
    exposure = Exposure(
        anatomy,
        scanner,
        plaques=_images(plaques, scanner),
        confusers=[
            *_images(confusers, scanner),
            *(image for image in metal_images if image is not None),
        ],
        streams=(streams[3], streams[4], streams[6]),
    )
    slices = [exposure.slice(index) for index in range(scan.slice_count)]
    geometry = scanner.geometry
    return PhantomPatient(
        seed=seed,
        patient_settings=patient,
        scan_settings=scan,
        volume=CtVolume(geometry, np.stack([one.hu for one in slices]), _acquisition(scan)),
        truth=LabelMap(geometry, np.stack([one.labels for one in slices])),
        structures=np.stack([one.structures for one in slices]),
        heart=np.stack([one.heart for one in slices]),
        plaques=plaques,
        confusers=confusers,
        metal=metal,
    )


def _settings(
    seed: int,
    patient_settings: PatientSettings | None,
    scan_settings: ScanSettings | None,
    overrides: dict[str, Any],
) -> tuple[PatientSettings, ScanSettings]:
    patient_fields = {field.name for field in fields(PatientSettings)}
    scan_fields = {field.name for field in fields(ScanSettings)}
    for name in overrides:
        settings = patient_settings if name in patient_fields else scan_settings
        if name not in patient_fields | scan_fields:
            raise ValueError(f"{name!r} is a field of neither PatientSettings nor ScanSettings.")
        if settings is not None:
            raise ValueError(f"{name!r} is given twice: alone and within settings.")
    patient = patient_settings or sample_patient(
        seed, **{name: value for name, value in overrides.items() if name in patient_fields}
    )
    scan = scan_settings or sample_scan(
        seed, **{name: value for name, value in overrides.items() if name in scan_fields}
    )
    return patient, scan


def _scan_centre(patient: PatientSettings, scan: ScanSettings) -> tuple[float, float, float]:
    shift_x, shift_y = scan.centre_shift_mm
    x, y, _ = rotation(patient.roll_deg, 0.0) @ (
        (18.0, -72.0, 0.0) if scan.kind == "gated" else (0.0, -35.0, 0.0)
    )
    scale = patient.body_scale
    return x * scale + shift_x, y * scale + shift_y, scan.z_centre_mm * scale


def _acquisition(scan: ScanSettings) -> CtAcquisition:
    return CtAcquisition(
        manufacturer="cacscore",
        manufacturer_model_name="procedural phantom",
        kvp=scan.kvp,
        slice_thickness_mm=scan.slice_thickness_mm,
        convolution_kernel=("SHARP" if scan.edge_enhancement else "STANDARD",),
        is_ecg_gated=scan.kind == "gated",
        is_contrast_enhanced=False,
        series_description="Calcium score" if scan.kind == "gated" else "Chest without contrast",
    )


def _images(deposits: Sequence[Deposit], scanner: Scanner) -> list[DepositImage]:
    images = (image_of(deposit, scanner) for deposit in deposits)
    return [image for image in images if image is not None]
