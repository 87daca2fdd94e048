"""A procedural patient in the scanner: a CT volume whose coronary calcium is exactly known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from calcium_scoring.phantom.acquisition import FloatImage, Scanner
from calcium_scoring.phantom.anatomy import build_anatomy
from calcium_scoring.phantom.confusers import sample_confusers
from calcium_scoring.phantom.deposits import Deposit, DepositImage, image_of
from calcium_scoring.phantom.painting import PlanePainter
from calcium_scoring.phantom.plaque import sample_plaques
from calcium_scoring.phantom.settings import (
    PatientSettings,
    ScanSettings,
    sample_patient,
    sample_scan,
)
from calcium_scoring.phantom.structures import Structure
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.volume.ct_volume import CtAcquisition, CtVolume
from calcium_scoring.volume.label_map import LabelArray, LabelMap

SEED_EXCESS_HU: Final = 60.0
"""Noise-free excess of a voxel that starts a lesion: muscle and this make about 110 HU."""
REACH_EXCESS_HU: Final = 5.0
"""Noise-free excess that still counts as the rim of a lesion."""
STRUCTURE_WEIGHT: Final = 0.1
"""Share of a slice that a plane must have for its structures to be labelled."""
CONFUSER_EXCESS_HU: Final = 20.0
"""Noise-free excess from which a voxel carries a structure's label."""

_EIGHT = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True, eq=False)
class PhantomPatient:
    """A scan and the truth about it.

    ``truth`` labels coronary calcium by this rule. A voxel is a candidate if its scanned HU is at
    least 130, the noise-free image of the plaques adds at least ``REACH_EXCESS_HU`` to it, and the
    plaques add more than other calcium or bone does. Candidates that are 8-connected within
    their slice to one where the plaques add ``SEED_EXCESS_HU`` are labelled, with the artery whose
    plaques add most. Plaque too faint to reach 130 HU is in ``plaques`` but not in ``truth``.

    ``structures`` (slice, row, column), uint8, labels other dense things (:class:`Structure`),
    whatever their scanned HU.
    """

    seed: int
    patient_settings: PatientSettings
    scan_settings: ScanSettings
    volume: CtVolume
    truth: LabelMap
    structures: NDArray[np.uint8]
    plaques: tuple[Deposit, ...]
    confusers: tuple[Deposit, ...]


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
        anatomy, body_scale=patient.body_scale, streams=streams[2].spawn(6)
    )
    rng_motion = np.random.default_rng(streams[3])
    angles = rng_motion.uniform(0.0, np.pi, size=scan.slice_count)
    # Each slice meets the heart in another phase: it moves much in one and little in the next.
    speeds = rng_motion.beta(1.3, 1.3, size=scan.slice_count)
    scanner = Scanner(
        scan,
        _scan_centre(patient, scan),
        speeds[:, np.newaxis] * np.stack([np.cos(angles), np.sin(angles)], axis=1),
    )
    return _scanned(
        seed,
        patient,
        scanner,
        PlanePainter(anatomy, scanner),
        plaques=plaques,
        confusers=confusers,
        noise_stream=streams[4],
    )


def _scanned(
    seed: int,
    patient: PatientSettings,
    scanner: Scanner,
    painter: PlanePainter,
    *,
    plaques: tuple[Deposit, ...],
    confusers: tuple[Deposit, ...],
    noise_stream: np.random.SeedSequence,
) -> PhantomPatient:
    geometry = scanner.geometry
    hu = np.empty(geometry.shape, dtype=np.float32)
    labels = np.zeros(geometry.shape, dtype=np.uint8)
    structures = np.zeros(geometry.shape, dtype=np.uint8)
    plaque_images = _images(plaques, scanner)
    confuser_images = _images(confusers, scanner)
    planes: dict[int, tuple[FloatImage, NDArray[np.uint8]]] = {}
    for index, stream in enumerate(noise_stream.spawn(geometry.shape[0])):
        weights = scanner.planes_of_slice(index)
        needed = {plane for plane, _ in weights}
        planes = {plane: image for plane, image in planes.items() if plane in needed}
        background = np.zeros(geometry.shape[1:], dtype=np.float32)
        for plane, weight in weights:
            if plane not in planes:
                planes[plane] = painter.plane(plane)
            background += np.float32(weight) * planes[plane][0]
            if weight >= STRUCTURE_WEIGHT:
                np.maximum(structures[index], planes[plane][1], out=structures[index])
        background = _moving_heart(scanner.blurred(background), scanner, index)
        _add_confusers(background, structures[index], confuser_images, index)
        excess = _excess_by_artery(plaque_images, index, background.shape)
        total = sum(excess.values(), np.zeros_like(background))
        noise = scanner.noise(np.random.default_rng(stream), _shoulder_share(scanner, index))
        hu[index] = scanner.reconstructed(background + total + noise)
        structures[index][~scanner.field_of_view] = Structure.NONE
        if excess:
            labels[index] = _truth_of_slice(hu[index], background, total, excess)
    return PhantomPatient(
        seed=seed,
        patient_settings=patient,
        scan_settings=scanner.settings,
        volume=CtVolume(geometry, hu, _acquisition(scanner.settings)),
        truth=LabelMap(geometry, labels),
        structures=structures,
        plaques=plaques,
        confusers=confusers,
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
    x, y = (18.0, -72.0) if scan.kind == "gated" else (0.0, -35.0)
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


def _shoulder_share(scanner: Scanner, index: int) -> float:
    """Return how much streaking the shoulders cause: none at the heart, all above the arch."""
    z = scanner.origin[2] + index * scanner.settings.spacing_between_slices_mm
    return float(np.clip((z - 40.0) / 50.0, 0.0, 1.0))


_HEART_EXTENT_MM: Final = ((-50.0, 115.0), (-140.0, -15.0))
_HEART_MARGIN_MM: Final = 12.0


def _moving_heart(image: FloatImage, scanner: Scanner, index: int) -> FloatImage:
    """Return a slice whose heart is smeared by motion, fading out towards the chest wall."""
    if not scanner.settings.motion_mm:
        return image
    pixel, size = scanner.settings.pixel_spacing_mm, scanner.settings.matrix_size
    masks, slices = [], []
    for axis, (low, high) in enumerate(_HEART_EXTENT_MM):
        position = scanner.origin[axis] + np.arange(size) * pixel
        inside = np.minimum(position - low, high - position)
        mask = np.clip(inside / _HEART_MARGIN_MM, 0.0, 1.0).astype(np.float32)
        nonzero = np.flatnonzero(mask)
        if not nonzero.size:
            return image
        slices.append(slice(int(nonzero[0]), int(nonzero[-1]) + 1))
        masks.append(mask[slices[-1]])
    where = (slices[1], slices[0])
    mask = masks[1][:, np.newaxis] * masks[0]
    part = image[where]
    part += mask * (scanner.moved(part, index) - part)
    return image


def _add_confusers(
    background: FloatImage,
    structures: NDArray[np.uint8],
    images: Sequence[DepositImage],
    index: int,
) -> None:
    for image in images:
        slab = image.slab(index)
        if slab is not None:
            where, excess = slab
            background[where] += excess
            label = np.where(excess >= CONFUSER_EXCESS_HU, int(image.deposit.owner), 0)
            np.maximum(structures[where], label.astype(np.uint8), out=structures[where])


def _excess_by_artery(
    images: Sequence[DepositImage], index: int, shape: tuple[int, ...]
) -> dict[int, FloatImage]:
    excess: dict[int, FloatImage] = {}
    for image in images:
        slab = image.slab(index)
        if slab is not None:
            artery = int(image.deposit.owner)
            where, values = slab
            excess.setdefault(artery, np.zeros(shape, dtype=np.float32))[where] += values
    return excess


def _truth_of_slice(
    hu: FloatImage, background: FloatImage, total: FloatImage, excess: dict[int, FloatImage]
) -> LabelArray:
    """Return the labels of one slice; the rule is that of :class:`PhantomPatient`."""
    # Soft tissue is no rival of a plaque; what is denser than it is.
    rival = background - np.float32(60.0)
    candidate = (hu >= LITERATURE.threshold_hu) & (total >= REACH_EXCESS_HU) & (total > rival)
    regions, _ = ndimage.label(candidate, structure=_EIGHT)
    kept = np.unique(regions[candidate & (total >= SEED_EXCESS_HU)])
    is_calcium = np.isin(regions, kept[kept > 0])
    arteries = np.array(sorted(excess), dtype=np.uint8)
    strongest = np.argmax([excess[int(artery)] for artery in arteries], axis=0)
    labels: LabelArray = np.where(is_calcium, arteries[strongest], 0).astype(np.uint8)
    return labels
