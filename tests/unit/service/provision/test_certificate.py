"""Certificates of the proxy: the operator's own first, else a self-signed one that is renewed."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509

from service.application.errors import ProvisioningRefused
from service.provision.certificate import LIFETIME, RENEWED_BEFORE_END, provide_certificate
from service.provision.certificate import self_signed as make_pair
from service.provision.secret_files import write_secret

NAMES = ("cac.hospital.example", "10.1.2.3")
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def provide(folder: Path, *, given: Path | None = None, now: datetime = NOW) -> list[str]:
    folder.mkdir(exist_ok=True)
    return provide_certificate(folder, host_names=NAMES, given=given, write=write_secret, now=now)


def give(folder: Path, *, now: datetime = NOW) -> Path:
    folder.mkdir()
    certificate, key = make_pair(("own.hospital.example",), now=now)
    # What an operator gives was issued by somebody else; here only the files' names matter.
    (folder / "tls.crt").write_text(certificate)
    (folder / "tls.key").write_text(key)
    return folder


def test_self_signed_certificate_is_for_the_names_and_addresses_asked_for(tmp_path: Path) -> None:
    provide(tmp_path / "proxy")

    certificate = x509.load_pem_x509_certificate((tmp_path / "proxy/tls.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [NAMES[0]]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address(NAMES[1])]
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
        tmp_path / "proxy/tls.crt", tmp_path / "proxy/tls.key"
    )


def test_self_signed_certificate_stays_until_thirty_days_before_its_end(tmp_path: Path) -> None:
    provide(tmp_path / "proxy")
    last_day = NOW + LIFETIME - RENEWED_BEFORE_END

    assert provide(tmp_path / "proxy", now=last_day - timedelta(days=1)) == []
    assert provide(tmp_path / "proxy", now=last_day + timedelta(days=1)) == [
        "proxy/tls.crt",
        "proxy/tls.key",
    ]


def test_own_certificate_takes_the_place_of_the_self_signed_one(tmp_path: Path) -> None:
    provide(tmp_path / "proxy")
    given = give(tmp_path / "given")

    assert provide(tmp_path / "proxy", given=given) != []
    assert (tmp_path / "proxy/tls.crt").read_text() == (given / "tls.crt").read_text()
    assert provide(tmp_path / "proxy", given=given) == []


def test_empty_folder_of_own_certificates_means_self_signed(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()

    assert provide(tmp_path / "proxy", given=tmp_path / "given") != []


def test_half_a_pair_is_refused(tmp_path: Path) -> None:
    given = give(tmp_path / "given")
    (given / "tls.key").unlink()

    with pytest.raises(ProvisioningRefused, match=r"tls\.key is missing"):
        provide(tmp_path / "proxy", given=given)


def test_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    given, other = give(tmp_path / "given"), give(tmp_path / "other")
    (given / "tls.key").write_text((other / "tls.key").read_text())

    with pytest.raises(ProvisioningRefused, match="is not the key of"):
        provide(tmp_path / "proxy", given=given)


def test_certificate_that_has_ended_is_refused_with_its_date(tmp_path: Path) -> None:
    given = give(tmp_path / "given", now=NOW - LIFETIME - timedelta(days=1))

    with pytest.raises(ProvisioningRefused, match="ended on 2026-10-31"):
        provide(tmp_path / "proxy", given=given)


def test_file_that_is_no_certificate_is_refused(tmp_path: Path) -> None:
    given = give(tmp_path / "given")
    (given / "tls.crt").write_text("none")

    with pytest.raises(ProvisioningRefused, match="could be read"):
        provide(tmp_path / "proxy", given=given)
