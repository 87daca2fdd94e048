"""The file of destinations: what it may say, and what is said of anything else."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from service.adapters.destinations.places import (
    LARGEST_FILE_BYTES,
    StowDestination,
    read_destinations,
)
from service.application.errors import DestinationsUnusable
from service.application.pushes import ObjectKind

GOOD = """\
networks: [10.20.0.0/16]
destinations:
  - name: pacs
    kind: c-store
    host: pacs.hospital.example
    port: 11112
    ae_title: PACS
    objects: [seg, sr]
    storage_commitment: true
    commitment_wait_s: 600
  - name: research
    kind: stow-rs
    url: https://archive.example.org/dicom-web/
    token_env: RESEARCH_TOKEN
    automatic: false
"""


def read(tmp_path: Path, text: str) -> object:
    file = tmp_path / "destinations.yaml"
    file.write_text(text, encoding="utf-8")
    return read_destinations(file)


def test_file_is_read_as_it_is_meant(tmp_path: Path) -> None:
    file = tmp_path / "destinations.yaml"
    file.write_text(GOOD, encoding="utf-8")

    found = read_destinations(file)

    pacs, research = found.terms["pacs"], found.terms["research"]
    assert pacs.objects == {ObjectKind.SEG, ObjectKind.SR}
    assert (pacs.is_automatic, pacs.commitment_wait) == (True, timedelta(minutes=10))
    assert research.objects == set(ObjectKind)
    assert (research.is_automatic, research.commitment_wait) == (False, timedelta(hours=1))
    place = found.destinations[1]
    assert isinstance(place, StowDestination)
    assert place.url == "https://archive.example.org/dicom-web"


def test_no_file_and_an_empty_one_name_nothing(tmp_path: Path) -> None:
    assert read_destinations(None).terms == {}
    assert read(tmp_path, "") == read_destinations(None)


MISTAKES = [
    ("kind: c-store", "kind: c-stor", "destinations.0: Input tag 'c-stor' found using 'kind'"),
    ("    kind: c-store\n", "", "destinations.0: Unable to extract tag using discriminator"),
    ("name: pacs", "name: The PACS", "destinations.0.c-store.name: String should match pattern"),
    ("name: pacs", "name: research", "file: Value error, two destinations have the same name"),
    ("port: 11112", "port: 111120", "destinations.0.c-store.port: Input should be less than"),
    ("port: 11112", "port: eleven", "destinations.0.c-store.port: Input should be a valid integer"),
    ("    port: 11112\n", "", "destinations.0.c-store.port: Field required"),
    ("ae_title: PACS", "ae_title: P" + 16 * "A", "destinations.0.c-store.ae_title: String should"),
    ("ae_title: PACS", "ae_title: P\\A", "destinations.0.c-store.ae_title: String should match"),
    ("host: pacs", "hosts: pacs", "destinations.0.c-store.hosts: Extra inputs are not permitted"),
    ("[seg, sr]", "[seg, mask]", "Input should be 'seg', 'sr', 'sc' or 'pdf'"),
    ("[seg, sr]", "[]", "destinations.0.c-store.objects: Frozenset should have at least 1 item"),
    ("wait_s: 600", "wait_s: 1", "commitment_wait_s: Input should be greater than or equal to 10"),
    ("https://", "ftp://", "destinations.1.stow-rs.url: Value error, must be http:// or https://"),
    ("https://", "https://me:pw@", "destinations.1.stow-rs.url: Value error, must be http://"),
    ("https://", "http://", "a secret is sent over https:// only, or to this machine"),
    ("token_env: RESEARCH_TOKEN", "username: me", "username goes with password_file or"),
    ("token_env: RESEARCH_TOKEN", "password_env: PW", "username goes with password_file or"),
    (
        "token_env: RESEARCH_TOKEN",
        "token_env: A\n    token_file: b",
        "give one of password_file, password_env, token_file and token_env",
    ),
    (
        "storage_commitment: true",
        "tls: {key_file: us.key}",
        "certificate_file and key_file belong together",
    ),
    ("[10.20.0.0/16]", "[10.20.0.1/16]", "networks.0"),
    ("networks: [", "networks: [[", "it is not YAML at line"),
    ("networks:", "network:", "network: Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("right", "wrong", "words"), MISTAKES)
def test_mistake_is_named_with_its_place(
    right: str, wrong: str, words: str, tmp_path: Path
) -> None:
    assert GOOD.count(right) == 1

    with pytest.raises(DestinationsUnusable) as caught:
        read(tmp_path, GOOD.replace(right, wrong))

    assert caught.value.code == "destinations_unusable"
    assert "destinations.yaml (CACSCORE_DESTINATIONS_FILE) cannot be used: " in caught.value.message
    assert words in caught.value.message


def test_what_was_written_is_not_repeated(tmp_path: Path) -> None:
    text = GOOD.replace("token_env: RESEARCH_TOKEN", "token: of-the-archive-5b1d")

    with pytest.raises(DestinationsUnusable) as caught:
        read(tmp_path, text)

    assert "destinations.1.stow-rs.token: Extra inputs are not permitted" in caught.value.message
    assert "5b1d" not in caught.value.message


def test_file_that_is_away_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DestinationsUnusable, match="FileNotFoundError"):
        read_destinations(tmp_path / "destinations.yaml")
    with pytest.raises(DestinationsUnusable, match="it has more than 1048576 bytes"):
        read(tmp_path, "#" * (LARGEST_FILE_BYTES + 1))
    with pytest.raises(DestinationsUnusable, match="file: Input should be a valid dictionary"):
        read(tmp_path, "- pacs\n")
