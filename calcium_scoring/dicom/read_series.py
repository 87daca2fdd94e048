"""An upload becomes one CT volume, or a refusal that says why not.

Everything that would make a score quietly wrong is refused here (see ``errors.SeriesRejected``);
what a reader should only know becomes a warning. The slices are decoded one by one into a single
array, so that reading needs little more memory than its result.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Event
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from calcium_scoring.dicom.decoder_process import DecoderProcess, decoder_process
from calcium_scoring.dicom.enhanced_ct import is_enhanced_ct
from calcium_scoring.dicom.headers import (
    ImageFile,
    number,
    numbers,
    quiet_pydicom,
    sop_class,
    text,
    texts,
)
from calcium_scoring.dicom.patient import patient_facts
from calcium_scoring.dicom.pixels import HuValues, PixelReader, has_whole_hu, is_uncompressed
from calcium_scoring.dicom.select_series import (
    LeftOutFile,
    OtherSeries,
    is_contrast_enhanced,
    is_ecg_gated,
    is_sharp_kernel,
    select_series,
)
from calcium_scoring.dicom.slice_geometry import SliceStack, stack_slices
from calcium_scoring.dicom.uids import derived_uid, is_valid_uid
from calcium_scoring.errors import ContrastEnhanced, DuplicatePositions, SeriesWarning
from calcium_scoring.upload.archive import (
    DEFAULT_LIMITS,
    ArchiveLimits,
    UnpackedFile,
    files_of_upload,
)
from calcium_scoring.volume.ct_volume import CtAcquisition, CtVolume, SeriesIdentity

STANDARD_KVP: Final = 120.0
"""Tube voltage of the score's threshold of 130 HU."""

THICK_SLICE_MM: Final = 3.0
"""Slices of the original score; thicker ones blur small calcifications away."""

OVERLAP_TOLERANCE: Final = 0.95
"""A spacing below this share of the slice thickness is called overlapping; our choice."""

PIXEL_ANISOTROPY_TOLERANCE_MM: Final = 0.001
"""Row and column spacing that differ by more are called anisotropic; our choice."""


READING_THREADS: Final = min(4, os.cpu_count() or 1)
"""Slices are read by at most this many threads: copying and converting need no Python. Our choice;
more gain little."""

SLICES_A_DECODER: Final = 40
"""Compressed slices for which one more decoder is started: it takes as long to start as to decode
some forty slices. Our choice."""

BLANK_HU: Final = -500.0
"""A slice with nothing above this shows no patient, only air; our choice."""


@dataclass(frozen=True, eq=False)
class CtSeries:
    """One CT series as it will be scored, and what else its upload held.

    Parameters
    ----------
    volume
        Hounsfield values, geometry, acquisition and UIDs.
    instances
        Headers without pixel data and private attributes, one for each slice of the volume and
        in its order, with all UIDs (missing ones are derived).
    warnings
        What a reader of the score should know.
    other_series, left_out_files
        What was not scored, and why. File names and series descriptions are the sender's own.
    file_count
        Files in the upload.
    paths
        The file of each instance, one for each slice; they are the caller's to remove.
    """

    volume: CtVolume
    instances: tuple[Dataset, ...]
    warnings: tuple[SeriesWarning, ...]
    other_series: tuple[OtherSeries, ...]
    left_out_files: tuple[LeftOutFile, ...]
    file_count: int
    paths: tuple[Path, ...] = ()


def read_ct_series(upload: Path, workdir: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> CtSeries:
    """Read the series to score from a zip archive (unpacked into ``workdir``) or a folder.

    Raises
    ------
    UploadRejected, SeriesRejected
        Any of their branches; see ``calcium_scoring.errors``.
    """
    return read_ct_files(files_of_upload(upload, workdir, limits))


def read_ct_files(files: Sequence[UnpackedFile]) -> CtSeries:
    """Choose the series to score among these files and read it."""
    selection = select_series(files)
    with quiet_pydicom():
        _check_contrast(selection.images)
        stack = stack_slices(selection.images)
    with decoder_process() as decoder, quiet_pydicom():
        hu, repeated, blank = _decode(stack, decoder)
    with quiet_pydicom():
        instances, uid_warnings = _with_uids([images[0] for images in stack.positions])
        first = instances[0]
        volume = CtVolume(
            stack.geometry,
            hu,
            _acquisition(first),
            SeriesIdentity(
                study_instance_uid=str(first.StudyInstanceUID),
                series_instance_uid=str(first.SeriesInstanceUID),
                frame_of_reference_uid=str(first.FrameOfReferenceUID),
                sop_instance_uids=tuple(str(one.SOPInstanceUID) for one in instances),
                frame_numbers=_frame_numbers([images[0] for images in stack.positions]),
            ),
            patient=patient_facts(first),
        )
        warnings = (
            *uid_warnings,
            *_repetition_warnings(repeated),
            *_blank_warnings(blank),
            *_acquisition_warnings(first, volume),
        )
    return CtSeries(
        volume,
        instances,
        warnings,
        selection.other_series,
        (*selection.left_out_files, *repeated),
        len(files),
        tuple(images[0].path for images in stack.positions),
    )


def _check_contrast(images: Sequence[ImageFile]) -> None:
    enhanced = sum(is_contrast_enhanced(image.header) is True for image in images)
    if enhanced:
        raise ContrastEnhanced(
            f"The headers of {enhanced} of {len(images)} slices name a contrast agent; enhanced "
            "blood is brighter than the calcium threshold. Send the non-contrast series.",
            enhanced_slice_count=enhanced,
            slice_count=len(images),
        )


def _decode(
    stack: SliceStack, decoder: DecoderProcess
) -> tuple[HuValues, list[LeftOutFile], list[int]]:
    """Return all HU (slice, row, column), the repeated files, and the slices without content."""
    is_whole = all(
        has_whole_hu(image.header, frame_count=image.frame_count)
        for at_one_place in stack.positions
        for image in at_one_place
    )
    hu = _untouched(stack.geometry.shape, is_whole=is_whole)
    _read_first_images(stack, hu, decoder)
    repeated, blank = [], []
    again = np.empty(stack.geometry.shape[1:], dtype=hu.dtype)
    reader = PixelReader(decoder)
    for index, images in enumerate(stack.positions):
        if hu[index, ::16].max() < BLANK_HU and hu[index].max() < BLANK_HU:
            blank.append(index)
        for image in images[1:]:
            reader.read_hu(image, again)
            if not np.array_equal(again, hu[index]):
                raise DuplicatePositions(
                    f"{sum(len(one) > 1 for one in stack.positions)} positions hold several "
                    "slices, and their pixels differ: several reconstructions or heart phases in "
                    "one series. Send one of them.",
                    position_count=sum(len(one) > 1 for one in stack.positions),
                )
            repeated.append(LeftOutFile.of(image, "repeats a slice that is there already"))
    return hu, repeated, blank


def _read_first_images(stack: SliceStack, hu: HuValues, decoder: DecoderProcess) -> None:
    """Read the first image of each position into ``hu``, on several cores where that pays."""
    images = [at_one_place[0] for at_one_place in stack.positions]
    threads = _thread_count(images)
    is_over = Event()

    def read_part(indices: NDArray[np.intp], decoder: DecoderProcess) -> None:
        reader = PixelReader(decoder)
        for index in indices:
            if is_over.is_set():
                return
            reader.read_hu(images[index], hu[index])

    # Neighbouring slices share tables of pages: each thread takes a run of them.
    parts = np.array_split(np.arange(len(images)), threads)
    if threads == 1:
        read_part(parts[0], decoder)
        return
    with ExitStack() as more, ThreadPoolExecutor(threads) as pool:
        # A decoder answers one at a time; its process starts with its first compressed slice.
        others = (more.enter_context(decoder_process()) for _ in range(1, threads))
        running = [
            pool.submit(read_part, indices, one)
            for indices, one in zip(parts, [decoder, *others], strict=True)
        ]
        try:
            for done in as_completed(running):
                done.result()
        finally:
            # After the first refusal, or a time limit, nobody needs the others' slices.
            is_over.set()


def _thread_count(images: Sequence[ImageFile]) -> int:
    compressed = sum(not is_uncompressed(image) for image in images)
    if compressed == 0:
        return READING_THREADS
    # Each decoder would hold the whole of a file of several frames.
    if any(image.frame_count > 1 for image in images):
        return 1
    return min(READING_THREADS, max(1, compressed // SLICES_A_DECODER))


def _untouched(shape: tuple[int, int, int], *, is_whole: bool) -> HuValues:
    """Return an array in memory that nobody has used yet: int16 for whole HU, else float32.

    NumPy asks for huge pages for its own large arrays. Where files fill the memory of a machine, as
    after unpacking an upload, the kernel then moves pages about for seconds before it has them.
    """
    kind = np.dtype(np.int16 if is_whole else np.float32)
    if not hasattr(mmap, "MAP_PRIVATE"):  # not on Windows
        return np.empty(shape, dtype=kind)
    memory = mmap.mmap(
        -1,
        math.prod(shape) * kind.itemsize,
        # Asking for all pages here (MAP_POPULATE) would keep every other thread waiting meanwhile.
        flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
    )
    return np.ndarray(shape, dtype=kind, buffer=memory)


def _with_uids(
    images: Sequence[ImageFile],
) -> tuple[tuple[Dataset, ...], tuple[SeriesWarning, ...]]:
    """Return the headers with a valid UID wherever one is needed."""
    headers = [image.header for image in images]
    instance_uids = [_uid(header, "SOPInstanceUID") for header in headers]
    shared_uids = {
        keyword: _uid(headers[0], keyword)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
    }
    incomplete = [keyword for keyword, uid in shared_uids.items() if uid is None]
    frames = [(uid, image.frame_index) for uid, image in zip(instance_uids, images, strict=True)]
    if None in instance_uids or len(set(frames)) < len(frames):
        incomplete.append("SOPInstanceUID")
        instance_uids = [None] * len(instance_uids)
    if incomplete:
        content_digest = cache(_content_digest)
        digests = [content_digest(image.path) for image in images]
        shared_uids = {
            keyword: uid or derived_uid(keyword, *digests) for keyword, uid in shared_uids.items()
        }
        instance_uids = [
            uid or derived_uid("SOPInstanceUID", shared_uids["SeriesInstanceUID"] or "", digest)
            for uid, digest in zip(instance_uids, digests, strict=True)
        ]
    for header, instance_uid in zip(headers, instance_uids, strict=True):
        # Some senders strip the SOP class.
        kind = sop_class(header) if is_enhanced_ct(header) else CTImageStorage
        uids = {**shared_uids, "SOPInstanceUID": instance_uid, "SOPClassUID": kind}
        for keyword, uid in uids.items():
            if texts(header, keyword) != (uid,):
                header.add_new(keyword, "UI", uid)
    if not incomplete:
        return tuple(headers), ()
    return tuple(headers), (
        SeriesWarning(
            "missing_uids",
            f"{', '.join(incomplete)} are missing, invalid or not unique; they were derived from "
            "the content of the files, so results refer to derived UIDs.",
            {"attributes": incomplete},
        ),
    )


def _frame_numbers(images: Sequence[ImageFile]) -> tuple[int, ...] | None:
    if all(image.frame_count == 1 for image in images):
        return None
    return tuple(image.frame_index + 1 for image in images)


def _uid(header: Dataset, keyword: str) -> str | None:
    uid = text(header, keyword)
    return uid if uid is not None and is_valid_uid(uid) else None


def _content_digest(path: Path) -> str:
    """Return a digest of a file without its preamble, which may be anything."""
    content = path.read_bytes()
    start = 128 if content[128:132] == b"DICM" else 0
    return hashlib.sha256(content[start:]).hexdigest()


def _acquisition(header: Dataset) -> CtAcquisition:
    return CtAcquisition(
        manufacturer=text(header, "Manufacturer"),
        manufacturer_model_name=text(header, "ManufacturerModelName"),
        kvp=number(header, "KVP"),
        slice_thickness_mm=number(header, "SliceThickness"),
        convolution_kernel=texts(header, "ConvolutionKernel"),
        is_ecg_gated=is_ecg_gated(header),
        is_contrast_enhanced=is_contrast_enhanced(header),
        series_description=text(header, "SeriesDescription"),
        calcium_scoring_mass_factor_patient=number(header, "CalciumScoringMassFactorPatient"),
        calcium_scoring_mass_factor_device=_three(
            numbers(header, "CalciumScoringMassFactorDevice", 3)
        ),
    )


def _three(values: tuple[float, ...] | None) -> tuple[float, float, float] | None:
    return None if values is None else (values[0], values[1], values[2])


def _repetition_warnings(repeated: Sequence[LeftOutFile]) -> tuple[SeriesWarning, ...]:
    if not repeated:
        return ()
    return (
        SeriesWarning(
            "duplicate_slices",
            f"{len(repeated)} files repeat a slice, pixel by pixel; each slice was used once.",
            {"file_count": len(repeated)},
        ),
    )


def _blank_warnings(blank: Sequence[int]) -> tuple[SeriesWarning, ...]:
    if not blank:
        return ()
    return (
        SeriesWarning(
            "blank_slices",
            f"{len(blank)} slices hold nothing denser than {BLANK_HU:g} HU, as where a "
            "reconstruction ends.",
            {"slice_indices": list(blank)},
        ),
    )


def _acquisition_warnings(header: Dataset, volume: CtVolume) -> list[SeriesWarning]:
    """Return what deviates from a calcium scan but does not forbid a score."""
    acquisition, spacing_mm = volume.acquisition, volume.geometry.spacing_between_slices_mm
    warnings = []
    if acquisition.kvp != STANDARD_KVP:
        found = "unknown" if acquisition.kvp is None else f"{acquisition.kvp:g} kV"
        warnings.append(
            SeriesWarning(
                "kvp_not_120",
                f"The tube voltage is {found}; the threshold of 130 HU is defined at 120 kV.",
                {"kvp": acquisition.kvp},
            )
        )
    thickness_mm = acquisition.slice_thickness_mm
    if max(thickness_mm or 0.0, spacing_mm) > THICK_SLICE_MM + 0.01:
        warnings.append(
            SeriesWarning(
                "thick_slices",
                f"Slices are {thickness_mm or spacing_mm:g} mm thick and {spacing_mm:.3g} mm "
                "apart; beyond 3 mm small calcifications fade below the threshold.",
                {"slice_thickness_mm": thickness_mm, "spacing_between_slices_mm": spacing_mm},
            )
        )
    if thickness_mm and spacing_mm < OVERLAP_TOLERANCE * thickness_mm:
        warnings.append(
            SeriesWarning(
                "overlapping_slices",
                f"Slices of {thickness_mm:g} mm lie {spacing_mm:.3g} mm apart: they overlap. The "
                "score is corrected for the spacing.",
                {"slice_thickness_mm": thickness_mm, "spacing_between_slices_mm": spacing_mm},
            )
        )
    if acquisition.is_ecg_gated is not True:
        said = "says that the scan was not" if acquisition.is_ecg_gated is False else "does not say"
        warnings.append(
            SeriesWarning(
                "not_ecg_gated",
                f"The header {said} ECG-gated; motion blurs and doubles calcium."
                if acquisition.is_ecg_gated is False
                else f"The header {said} that the scan was ECG-gated; motion blurs and doubles "
                "calcium.",
                {"is_ecg_gated": acquisition.is_ecg_gated},
            )
        )
    if is_sharp_kernel(acquisition.convolution_kernel):
        warnings.append(
            SeriesWarning(
                "sharp_kernel",
                "The reconstruction kernel is made for lung or bone; its noise and overshoot "
                "raise the score.",
                {"convolution_kernel": list(acquisition.convolution_kernel)},
            )
        )
    row_mm, column_mm = volume.geometry.pixel_spacing_mm
    if abs(row_mm - column_mm) > PIXEL_ANISOTROPY_TOLERANCE_MM:
        warnings.append(
            SeriesWarning(
                "anisotropic_pixels",
                f"Pixels are {row_mm:.4g} x {column_mm:.4g} mm, not square.",
                {"pixel_spacing_mm": [row_mm, column_mm]},
            )
        )
    if text(header, "SeriesDescription") is None and text(header, "ProtocolName") is None:
        warnings.append(
            SeriesWarning(
                "missing_description",
                "Neither Series Description nor Protocol Name is there: nothing names the series "
                "as a calcium scan or says how it was reconstructed.",
                {"attributes": ["SeriesDescription", "ProtocolName"]},
            )
        )
    if texts(header, "ImageType")[:1] == ("DERIVED",):
        warnings.append(
            SeriesWarning(
                "derived_images",
                "The slices were derived from other images, as by a reformat; that may have "
                "smoothed or shifted calcium.",
            )
        )
    if text(header, "LossyImageCompression") == "01":
        warnings.append(
            SeriesWarning(
                "lossy_compression",
                "The images were compressed with loss at some time; values near the threshold "
                "may have changed.",
                {"ratio": numbers(header, "LossyImageCompressionRatio", 1)},
            )
        )
    return warnings
