"""Results of real series, judged by programs that nobody here wrote.

dciodvfy (dicom3tools) checks each object against its IOD, dcmqi reads mask and measurements back,
SimpleITK places the mask, dsrdump (DCMTK) prints the report.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2
import pytest
import SimpleITK as sitk  # noqa: N813 - as its own documentation calls it
from fhir.resources.R4B.bundle import Bundle
from pydicom import dcmread

from calcium_scoring.dicom.read_segmentation import read_segmentation
from calcium_scoring.dicom.read_series import read_ct_series
from calcium_scoring.dicom.write_segmentation import write_segmentation
from calcium_scoring.scoring.conventions import CONVENTIONS
from calcium_scoring.scoring.protocol import LITERATURE
from calcium_scoring.scoring.report import measure_calcium
from calcium_scoring.volume.ct_volume import CtVolume
from calcium_scoring.volume.label_map import Artery, LabelMap
from calcium_scoring.volume.segmentation_kind import SegmentationKind
from service.application.jobs import ModelIdentity
from service.application.report_document import report_document
from service.application.score_series import ScoredSeries
from service.application.write_artefacts import Result, write_artefacts
from tests.dciodvfy import errors_of_dciodvfy
from tests.fakes import write_study_zip
from tests.series_builders import without_contrast_in_the_header

MODEL = ModelIdentity("calcium-segmenter", "1.2.3", "ab" * 32, is_provisional=False)

SCANS = {
    "phantom": None,
    "LIDC-0002": "lidc-idri/LIDC-IDRI-0002_i70-i150.zip",
    "QRM phantom": "molloilab-cac-stanford-data/canon_Large_rep1.zip",
    "without UIDs": "totalsegmentator/example_ct_dicom_j2k_no_sopclass.zip",
}

IODS = {
    "mask.dcm": "Segmentation",
    "labelmap.dcm": "Segmentation",
    "lesions.dcm": "Segmentation",
    "report.dcm": "Comprehensive3DSR",
    "report-pdf.dcm": "EncapsulatedPDF",
    "key-image-1.dcm": "SCImage",
}


@dataclass(frozen=True, eq=False)
class Written:
    """A result and the folder of its files."""

    folder: Path
    result: Result

    @property
    def document(self) -> dict[str, Any]:
        return self.result.document


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=() if path is None else pytest.mark.real_data)
        for name, path in SCANS.items()
    ],
)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("results")
    place = SCANS[request.param]
    if place is None:
        upload = write_study_zip(folder / "plaque.zip")
    else:
        upload = request.getfixturevalue("real_data") / place
    if request.param == "without UIDs":
        upload = without_contrast_in_the_header(upload, folder)
    work = folder / "work"
    work.mkdir()
    series = read_ct_series(upload, work)
    label_map = dense_in_two_slices(series.volume)
    report = measure_calcium(
        series.volume,
        label_map,
        protocol=LITERATURE,
        has_artery_labels=True,
        conventions=CONVENTIONS.values(),
    )
    document = report_document(report, series.volume, model=MODEL, warnings=series.warnings)
    scored = ScoredSeries(series, label_map, report, MODEL, document)
    out = folder / "out"
    out.mkdir()
    write_artefacts(scored, out)
    kind = SegmentationKind.LABELMAP
    write_segmentation(label_map, series, MODEL, out / "labelmap.dcm", kind=kind)
    return Written(out, Result.of(scored))


def dense_in_two_slices(volume: CtVolume) -> LabelMap:
    """What is dense in the two slices with most of it, off the rims: left half LAD, right RCA."""
    labels = np.zeros(volume.hu.shape, dtype=np.uint8)
    rows = volume.hu.shape[1]
    dense = volume.hu >= 200.0
    dense[:, : rows // 8], dense[:, -rows // 8 :] = False, False
    first = int(np.count_nonzero(dense, axis=(1, 2))[:-1].argmax())
    pair = np.s_[first : first + 2]
    middle = round(float(np.nonzero(dense[pair])[2].mean()))
    labels[pair, :, :middle][dense[pair, :, :middle]] = Artery.LAD
    labels[pair, :, middle:][dense[pair, :, middle:]] = Artery.RCA
    return LabelMap(volume.geometry, labels)


@pytest.mark.parametrize("name", IODS)
def test_every_dicom_object_is_valid(written: Written, name: str) -> None:
    assert written.result.report.lesions
    assert errors_of_dciodvfy(written.folder / name, IODS[name]) == []


def dcmqi(program: str, *arguments: str | Path) -> None:
    answer = subprocess.run(
        [Path(sys.executable).parent / program, *arguments],
        capture_output=True,
        check=False,
        text=True,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("name", ["mask.dcm", "labelmap.dcm"])
def test_dcmqi_reads_the_same_mask_on_the_grid_of_the_series(
    written: Written, tmp_path: Path, name: str
) -> None:
    geometry = written.result.series.volume.geometry
    source: Any = sitk.ReadImage(str(written.folder / "mask.nii.gz"))
    unmoved: Any = sitk.Transform()  # type: ignore[no-untyped-call]

    dcmqi(
        "segimage2itkimage",
        *("--inputDICOM", written.folder / name),
        *("--outputDirectory", tmp_path, "--outputType", "nrrd", "--prefix", "back"),
    )

    found = np.zeros(geometry.shape, dtype=np.uint8)
    meta = json.loads((tmp_path / "back-meta.json").read_text())
    label_of_code = {"59438005": Artery.LAD, "13647002": Artery.RCA}
    for path in sorted(tmp_path.glob("back-*.nrrd")):
        image = sitk.ReadImage(str(path))
        group = int(path.stem.split("-")[1]) - 1
        for segment in meta["segmentAttributes"][group]:
            mask = image == segment["labelID"]
            # Frames without calcium are not in the file: SimpleITK puts the mask where it lies.
            placed = sitk.Resample(mask, source, unmoved, sitk.sitkNearestNeighbor, 0)
            code = segment["AnatomicRegionSequence"]["CodeValue"]
            found[sitk.GetArrayFromImage(placed) > 0] = label_of_code[code]
    assert np.array_equal(found, written.result.label_map.labels)


def test_dcmqi_reads_the_same_numbers_with_the_tracking_uids_of_the_json_report(
    written: Written, tmp_path: Path
) -> None:
    dcmqi(
        "tid1500reader",
        *("--inputDICOM", written.folder / "report.dcm"),
        *("--outputMetadata", tmp_path / "sr.json"),
    )

    groups = json.loads((tmp_path / "sr.json").read_text())["Measurements"]
    scores = {
        group["TrackingUniqueIdentifier"]: {
            item["quantity"]["CodeMeaning"]: float(item["value"])
            for item in group["measurementItems"]
        }
        for group in groups
    }
    total = next(one for one in groups if one["TrackingIdentifier"] == "Coronary calcium, total")
    found = scores[total["TrackingUniqueIdentifier"]]
    assert found["Calcium score"] == pytest.approx(written.document["agatston_score"])
    assert found["Calcium Volume"] == pytest.approx(written.document["volume_score_mm3"])
    for lesion in written.document["lesions"]:
        of_lesion = scores[lesion["tracking_uid"]]
        assert of_lesion["Calcium score"] == pytest.approx(lesion["agatston_score"])
    segments = dcmread(written.folder / "lesions.dcm").SegmentSequence
    assert [one.TrackingUID for one in segments] == [
        one["tracking_uid"] for one in written.document["lesions"]
    ]


def test_the_mask_lies_where_simpleitk_puts_the_source(written: Written) -> None:
    geometry = written.result.series.volume.geometry
    mask: Any = sitk.ReadImage(str(written.folder / "mask.nii.gz"))

    last = [extent - 1 for extent in geometry.shape]
    for slice_index, row, column in [(0, 0, 0), last]:
        found = mask.TransformIndexToPhysicalPoint((column, row, slice_index))
        expected = geometry.position_lps_mm((slice_index, row, column))
        assert found == pytest.approx(expected, abs=1e-3)
    assert mask.GetSpacing()[::-1] == pytest.approx(geometry.spacing_mm, abs=1e-4)


def test_dsrdump_shows_a_report_that_people_can_read(written: Written) -> None:
    if shutil.which("dsrdump") is None:
        pytest.skip("DCMTK is not installed")
    answer = subprocess.run(
        ["dsrdump", "+Pl", written.folder / "report.dcm"],
        capture_output=True,
        check=True,
        text=True,
    )
    print(answer.stdout)  # noqa: T201 - the evidence

    assert '"Calcium score")=' in answer.stdout
    assert "Research use only" in answer.stdout
    assert f"Agatston score {written.document['agatston_score']:.1f}" in answer.stdout


def test_pdf_has_one_page_with_the_score_and_fhir_is_valid(written: Written) -> None:
    page = pypdfium2.PdfDocument(written.folder / "report.pdf")
    words = page[0].get_textpage().get_text_range()
    assert len(page) == 1
    assert f"{written.document['agatston_score']:.1f}" in words

    Bundle.model_validate(json.loads((written.folder / "report.fhir.json").read_text()))


def test_lesions_of_the_segmentation_are_those_of_the_report(written: Written) -> None:
    labels = read_segmentation(written.folder / "lesions.dcm", written.result.series).labels

    counted = sum(lesion.voxel_count for lesion in written.result.report.lesions)
    assert np.count_nonzero(labels) == counted
