"""What is left of a scan after de-identification, judged by somebody else's table of PS3.15."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from calcium_scoring.dicom.deidentify import (
    DATES,
    EMPTY,
    DeidentificationOptions,
    DeidentifiedFiles,
    deidentify_files,
)
from calcium_scoring.dicom.pseudonyms import Pseudonyms
from calcium_scoring.dicom.read_series import read_ct_files
from calcium_scoring.dicom.select_series import is_ecg_gated, select_series, telling_words
from calcium_scoring.dicom.write_series import SeriesAttributes, write_ct_series
from calcium_scoring.errors import BurnedInAnnotation, NoCtSeries, NoDicomFound
from calcium_scoring.upload.archive import UnpackedFile
from tests.fakes import plaque_volume
from tests.series_builders import noise_volume, write_enhanced, write_series

KEY = bytes(range(32))
OPTIONS = DeidentificationOptions()
NAME, PATIENT_ID = "Grauenhorst^Wilhelmine", "PID-7734-XQ"
SECRET = NAME.split("^", maxsplit=1)[0]
PLAIN_TEXT_VRS = frozenset({"LO", "SH", "ST", "LT", "UT", "UC", "PN", "AE", "UR"})

TABLE = {
    tag: action
    for action, tags in dicom_anonymization_database_selector("dicomfields_2026c").items()
    for tag in tags
    if action != "ALL_TAGS" and len(tag) == 2
}
"""PS3.15 table E.1-1 of 2026c as another program has it: tag -> action of the basic profile."""


def pseudonyms(tenant: str = "default") -> Pseudonyms:
    return Pseudonyms(KEY, tenant=tenant)


def filled_with_secrets(instance: Dataset) -> None:
    """Give every attribute of the table a value that must not be left."""
    for group, element in TABLE:
        tag = group << 16 | element
        if group in {0x0002, 0x0000} or not dictionary_has_tag(tag) or tag in instance:
            continue
        vr = dictionary_VR(tag)
        value: object = {
            "DA": "19430107",
            "TM": "071143",
            "DT": "19430107071143",
            "UI": "1.2.826.0.1.3680043.2.1125.7734",
            "AS": "052Y",
            "CS": "SECRET",
            "DS": "7734",
            "IS": "7734",
            "US": 7734,
            "FD": 7734.0,
            "OB": SECRET.encode() + b" ",
            "UN": SECRET.encode() + b" ",
        }.get(vr, SECRET)
        if vr == "SQ":
            item = Dataset()
            item.PersonName = NAME
            value = Sequence([item])
        elif vr not in PLAIN_TEXT_VRS and value == SECRET:
            continue
        instance.add_new(tag, vr, value)


def series(
    folder: Path, *, syntax: str = ExplicitVRLittleEndian, fills: bool = True
) -> list[UnpackedFile]:
    attributes = SeriesAttributes(
        patient_name=NAME,
        patient_id=PATIENT_ID,
        patient_birth_date="19431107",
        patient_sex="F",
        study_date="20110304",
        protocol_name=f"CaSc gated for {SECRET}",
    )
    paths = write_ct_series(
        plaque_volume(), folder, seed=1, attributes=attributes, transfer_syntax_uid=syntax
    )
    if fills:
        for path in paths:
            instance = dcmread(path)
            filled_with_secrets(instance)
            private = instance.private_block(0x0029, SECRET, create=True)
            private.add_new(0x10, "LO", SECRET)
            instance.add_new(0x60003000, "OW", SECRET.encode() + b" ")
            instance.add_new(0xFFFAFFFA, "SQ", [])
            instance.add_new(0xFFFCFFFC, "OB", SECRET.encode() + b" ")
            instance.save_as(path)
            content = path.read_bytes()
            path.write_bytes(SECRET.encode().ljust(128, b"\0") + content[128:])
    return [UnpackedFile(path, f"{NAME}/{path.name}") for path in paths]


def deidentified(
    files: list[UnpackedFile], folder: Path, options: DeidentificationOptions = OPTIONS
) -> DeidentifiedFiles:
    folder.mkdir()
    return deidentify_files(files, folder, pseudonyms(), options)


def unpacked(made: DeidentifiedFiles) -> list[UnpackedFile]:
    return [UnpackedFile(path, path.name) for path in made.paths]


def elements(dataset: Dataset) -> Iterator[tuple[str, object, int]]:
    """Give (keyword, value, tag) on every level but that of the codes of what was done."""
    for element in dataset:
        if element.VR == "SQ" and element.keyword != "DeidentificationMethodCodeSequence":
            for item in element.value:
                yield from elements(item)
        yield element.keyword, element.value, int(element.tag)


def test_no_value_of_the_table_of_the_standard_is_left(tmp_path: Path) -> None:
    files = series(tmp_path / "in")
    original = dcmread(files[0].path)
    assert len([one for one in original if (one.tag.group, one.tag.elem) in TABLE]) > 400

    made = deidentified(files, tmp_path / "out")

    # Attributes of the options that are taken, see the module.
    cleaned = {"SeriesDescription", "ProtocolName", "ContrastBolusAgent"}
    characteristics = {"PatientAge", "PatientSex"}
    ours = {
        *("PatientID", "PatientName", "DeidentificationMethod"),
        *("DeidentificationMethodCodeSequence", "PatientIdentityRemoved"),
    }
    for path in made.paths:
        content = path.read_bytes()
        for word in (*NAME.split("^"), PATIENT_ID, "19431107", "20110304", "7734"):
            assert word.encode() not in content, word
        for keyword, value, tag in elements(dcmread(path)):
            assert tag >> 16 & 1 == 0, "a private attribute"
            if (tag >> 16, tag & 0xFFFF) not in TABLE:
                continue
            if keyword in cleaned | characteristics | ours:
                continue
            if keyword in EMPTY:
                assert not value, keyword
            else:
                assert TABLE[tag >> 16, tag & 0xFFFF] == "U_TAGS", keyword
                assert str(value).startswith("2.25."), keyword
                assert str(value) != str(original.get(keyword)), keyword
    assert str(dcmread(made.paths[0]).ProtocolName) == "CaSc;gated"


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless])
def test_hounsfield_values_geometry_and_acquisition_are_the_same_to_the_bit(
    tmp_path: Path, syntax: str
) -> None:
    files = series(tmp_path / "in", syntax=syntax, fills=False)
    before = read_ct_files(files)

    after = read_ct_files(unpacked(deidentified(files, tmp_path / "out")))

    assert (after.volume.hu == before.volume.hu).all()
    assert after.volume.hu.dtype == before.volume.hu.dtype
    assert after.volume.geometry.shape == before.volume.geometry.shape
    assert (after.volume.geometry.affine == before.volume.geometry.affine).all()
    assert after.volume.acquisition.kvp == before.volume.acquisition.kvp
    assert after.volume.acquisition.is_ecg_gated == before.volume.acquisition.is_ecg_gated
    # 4 March 2011 minus 7 November 1943 is 67 completed years.
    assert after.volume.patient.age_years == before.volume.patient.age_years == 67
    assert after.volume.patient.sex == before.volume.patient.sex


def test_big_endian_files_stay_what_they_were(tmp_path: Path) -> None:
    files = series(tmp_path / "in", fills=False)
    before = read_ct_files(files)
    for file in files:
        written = dcmread(file.path)
        instance = Dataset()
        instance.update(written)
        instance.PixelData = np.frombuffer(written.PixelData, "<i2").astype(">i2").tobytes()
        instance.file_meta = written.file_meta
        instance.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        instance.save_as(file.path, enforce_file_format=True)

    after = read_ct_files(unpacked(deidentified(files, tmp_path / "out")))

    assert (after.volume.hu == before.volume.hu).all()


def test_identifiers_are_replaced_alike_in_all_files_and_can_be_led_back(tmp_path: Path) -> None:
    files = series(tmp_path / "in", fills=False)
    made = deidentified(files, tmp_path / "out")

    headers = [dcmread(path) for path in made.paths]
    original = dcmread(files[0].path)
    names = pseudonyms()
    assert {str(one.PatientID) for one in headers} == {names.patient_id(PATIENT_ID)}
    assert {str(one.StudyInstanceUID) for one in headers} == {names.uid(original.StudyInstanceUID)}
    assert len({str(one.SOPInstanceUID) for one in headers}) == len(files)
    assert made.originals == {
        names.patient_id(PATIENT_ID): ("patient_id", PATIENT_ID),
        names.uid(original.StudyInstanceUID): (
            "study_instance_uid",
            str(original.StudyInstanceUID),
        ),
        names.uid(original.SeriesInstanceUID): (
            "series_instance_uid",
            str(original.SeriesInstanceUID),
        ),
    }
    codes = [one.CodeValue for one in headers[0].DeidentificationMethodCodeSequence]
    # CID 7050: basic profile, clean descriptors, retain patient characteristics.
    assert codes == ["113100", "113105", "113108"]
    assert headers[0].PatientIdentityRemoved == "YES"
    assert headers[0].LongitudinalTemporalInformationModified == "REMOVED"


def test_moved_dates_keep_their_distances(tmp_path: Path) -> None:
    files = series(tmp_path / "in", fills=False)
    for file in files:
        instance = dcmread(file.path)
        instance.AcquisitionDate = "20110306"
        instance.save_as(file.path)

    made = deidentified(files, tmp_path / "out", DeidentificationOptions(shifts_dates=True))

    header = dcmread(made.paths[0])
    moved = [date.fromisoformat(str(header[one].value)) for one in DATES[::2]]
    assert (moved[1] - moved[0]).days == 2
    assert (date(2011, 3, 4) - moved[0]).days == pseudonyms().days_back(PATIENT_ID)
    assert header.LongitudinalTemporalInformationModified == "MODIFIED"
    assert header.StudyTime == ""


def test_age_and_sex_go_where_they_are_not_asked_for(tmp_path: Path) -> None:
    files = series(tmp_path / "in", fills=False)
    options = DeidentificationOptions(retains_age_and_sex=False)
    header = dcmread(deidentified(files, tmp_path / "out", options).paths[0])
    assert "PatientAge" not in header
    assert header.PatientSex == ""


def test_ages_over_89_become_one(tmp_path: Path) -> None:
    files = series(tmp_path / "in", fills=False)
    for file in files:
        instance = dcmread(file.path)
        instance.PatientBirthDate = "19110101"
        instance.save_as(file.path)
    header = dcmread(deidentified(files, tmp_path / "out").paths[0])
    assert header.PatientAge == "090Y"


def test_what_is_no_slice_is_left_out(tmp_path: Path) -> None:
    files = series(tmp_path / "in", fills=False)
    dose_report = dcmread(files[0].path)
    dose_report.ImageType = ["DERIVED", "SECONDARY", "SCREEN SAVE"]
    dose_report.save_as(tmp_path / "dose.dcm")
    letter = tmp_path / "letter.txt"
    letter.write_text(NAME, encoding="utf-8")
    extra = [UnpackedFile(one, one.name) for one in (tmp_path / "dose.dcm", letter)]

    made = deidentified([*files, *extra], tmp_path / "out")

    assert (len(made.paths), made.left_out_count) == (len(files), 2)
    assert [path.name for path in made.paths][:2] == ["00001.dcm", "00002.dcm"]


def test_images_with_burnt_in_text_are_not_kept(tmp_path: Path) -> None:
    files = series(tmp_path / "in", fills=False)
    for file in files:
        instance = dcmread(file.path)
        instance.BurnedInAnnotation = "YES"
        instance.save_as(file.path)
    with pytest.raises(BurnedInAnnotation) as refusal:
        deidentified(files, tmp_path / "out")
    assert refusal.value.evidence == {"image_count": len(files)}


def test_an_upload_without_a_slice_is_refused_as_ever(tmp_path: Path) -> None:
    files = series(tmp_path / "in", fills=False)
    for file in files:
        instance = dcmread(file.path)
        instance.Modality = "MR"
        instance.save_as(file.path)
    with pytest.raises(NoCtSeries):
        deidentified(files, tmp_path / "out")
    letter = tmp_path / "letter.txt"
    letter.write_text(NAME, encoding="utf-8")
    with pytest.raises(NoDicomFound):
        deidentify_files([UnpackedFile(letter, "x")], tmp_path / "out", pseudonyms(), OPTIONS)


def test_tenants_and_keys_have_pseudonyms_of_their_own() -> None:
    made = {
        Pseudonyms(key, tenant=tenant).patient_id(PATIENT_ID)
        for key in (KEY, bytes(32))
        for tenant in ("a", "b")
    }
    assert len(made) == 4
    assert all(re.fullmatch(r"P[A-Z2-7]{16}", one) for one in made)


def test_a_short_key_is_none() -> None:
    with pytest.raises(ValueError, match="at least 32 bytes, not 31"):
        Pseudonyms(bytes(31), tenant="a")


WORDS = st.sampled_from(
    """CaSc|ca_sc|CTA|angio|non gated|gated|ECG|ohne|Kontrastmittel|KM|w/o|with|contrast|MIP|x_MIP
score|arterial|C+|native|cac|3.0""".replace("\n", "|").split("|")
)
NOISE = st.text(alphabet=string.ascii_letters + string.digits + "_-/ .;", max_size=6)
DESCRIPTIONS = st.lists(
    st.tuples(WORDS | NOISE, st.sampled_from([" ", "_", "", "-", ";"])), max_size=8
).map(lambda parts: "".join(word + gap for word, gap in parts)[:64])


def slice_named(description: str) -> Dataset:
    header = Dataset()
    header.SOPClassUID, header.Modality = CTImageStorage, "CT"
    header.SeriesDescription = description
    return header


@given(DESCRIPTIONS)
def test_the_rules_find_the_same_in_what_is_left_of_a_description(description: str) -> None:
    from calcium_scoring.dicom import select_series as rules  # noqa: PLC0415 - its patterns

    before = slice_named(description)
    after = slice_named(telling_words(before, "SeriesDescription"))

    assert is_ecg_gated(after) == is_ecg_gated(before)
    words = [rules._words(one, "SeriesDescription") for one in (before, after)]
    assert rules._names_contrast(words[1]) == rules._names_contrast(words[0])
    for pattern, texts in (
        (rules._CALCIUM_WORDS, words),
        (rules._PROJECTION_NAMES, [str(one.SeriesDescription) for one in (before, after)]),
    ):
        assert bool(pattern.search(texts[1])) == bool(pattern.search(texts[0]))
    assert len(str(after.SeriesDescription)) <= len(description)


def test_a_name_in_a_description_does_not_stay() -> None:
    header = slice_named(f"{SECRET}_CaSc 3.0 B35f ohne Kontrast{SECRET} {NAME}")
    assert telling_words(header, "SeriesDescription") == "CaSc;ohne Kontrast"


def test_the_same_series_is_chosen(tmp_path: Path) -> None:
    scored = series(tmp_path / "scored", fills=False)
    angiography = []
    for file in series(tmp_path / "other", fills=False):
        instance = dcmread(file.path)
        instance.SeriesInstanceUID = "1.2.3"
        instance.SOPInstanceUID = f"{instance.SOPInstanceUID}.1"
        instance.ProtocolName = ""
        instance.SeriesDescription = f"CTA {SECRET}"
        instance.save_as(file.path)
        angiography.append(file)
    files = [*angiography, *scored]
    before = select_series(files)

    after = select_series(unpacked(deidentified(files, tmp_path / "out")))

    uid = str(before.images[0].header.SeriesInstanceUID)
    assert str(after.images[0].header.SeriesInstanceUID) == pseudonyms().uid(uid)
    assert [one.reason for one in after.other_series] == [one.reason for one in before.other_series]
    assert after.other_series[0].series_description == "CTA"


def test_every_kept_keyword_is_one_of_the_dictionary() -> None:
    from calcium_scoring.dicom import deidentify as profile  # noqa: PLC0415 - its lists

    names = {keyword_for_tag(group << 16 | element) for group, element in TABLE}
    assert not profile.KEPT & names, "kept as it is, and in the table of the standard"
    for keyword in profile.KEPT | profile.KEPT_SEQUENCES:
        assert (dictionary_VR(keyword) == "SQ") == (keyword in profile.KEPT_SEQUENCES), keyword


def test_enhanced_objects_keep_their_frames_and_lose_what_frames_say_of_people(
    tmp_path: Path,
) -> None:
    singles = write_series(tmp_path / "singles", noise_volume())

    def name_somebody(instance: Dataset) -> None:
        for groups in instance.PerFrameFunctionalGroupsSequence:
            groups.FrameContentSequence[0].FrameComments = SECRET
        instance.SharedFunctionalGroupsSequence[0].add_new(0x00290010, "LO", SECRET)

    path = write_enhanced(tmp_path / "one.dcm", singles, change=name_somebody)
    files = [UnpackedFile(path, "one.dcm")]
    before = read_ct_files(files)

    made = deidentified(files, tmp_path / "out")

    assert SECRET.encode() in path.read_bytes()
    assert SECRET.encode() not in made.paths[0].read_bytes()
    after = read_ct_files(unpacked(made))
    assert (after.volume.hu == before.volume.hu).all()
    assert (after.volume.geometry.affine == before.volume.geometry.affine).all()
    assert after.volume.acquisition == replace(
        before.volume.acquisition, series_description="Calc;Score"
    )
