"""A certificate for the reverse proxy: the operator's own, else a self-signed one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from service.application.errors import ProvisioningRefused

CERTIFICATE_FILE: Final = "tls.crt"
KEY_FILE: Final = "tls.key"
"""PEM files, named as in a Kubernetes secret of type kubernetes.io/tls."""

LIFETIME: Final = timedelta(days=397)
RENEWED_BEFORE_END: Final = timedelta(days=30)
"""Of a self-signed certificate; both our choice. It is renewed when the stack is started."""

_ISSUED_BY_US: Final = "cacscore, self-signed"
_CLOCK_DIFFERENCE: Final = timedelta(hours=1)


def provide_certificate(
    folder: Path,
    *,
    host_names: Sequence[str],
    given: Path | None,
    write: Callable[[Path, str], None],
    now: datetime | None = None,
) -> list[str]:
    """Put ``tls.crt`` and ``tls.key`` into a folder; return the names of what was written.

    A certificate that is given replaces whatever is there. Otherwise a self-signed one is made
    where there is none, or where ours ends within 30 days or is for other names.

    Raises
    ------
    ProvisioningRefused
        Only one of the two files is given, they do not belong together, or the certificate has
        ended.
    """
    now = now or datetime.now(UTC)
    certificate, key = folder / CERTIFICATE_FILE, folder / KEY_FILE
    if given is not None and any((given / name).exists() for name in (CERTIFICATE_FILE, KEY_FILE)):
        pair = _given_pair(given, now)
        if certificate.exists() and key.exists():
            kept = (certificate.read_text("utf-8"), key.read_text("utf-8"))
            if kept == pair:
                return []
    elif certificate.exists() and key.exists() and not _needs_renewal(certificate, host_names, now):
        return []
    else:
        pair = self_signed(host_names, now=now)
    write(key, pair[1])
    write(certificate, pair[0])
    return [f"{folder.name}/{CERTIFICATE_FILE}", f"{folder.name}/{KEY_FILE}"]


def self_signed(host_names: Sequence[str], *, now: datetime) -> tuple[str, str]:
    """Return certificate and key (P-256) as PEM, for names and IP addresses."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ISSUED_BY_US),
            x509.NameAttribute(NameOID.COMMON_NAME, host_names[0][:64]),
        ]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_DIFFERENCE)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([_general_name(one) for one in host_names]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(Encoding.PEM).decode("ascii"),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii"),
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _needs_renewal(path: Path, host_names: Sequence[str], now: datetime) -> bool:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    ends_soon = certificate.not_valid_after_utc < now + RENEWED_BEFORE_END
    is_ours = _ISSUED_BY_US in certificate.issuer.rfc4514_string().replace("\\", "")
    # The operator's own, which is no longer given: one of ours takes its place.
    return not is_ours or ends_soon or set(names) != {_general_name(one) for one in host_names}


def _given_pair(folder: Path, now: datetime) -> tuple[str, str]:
    missing = [n for n in (CERTIFICATE_FILE, KEY_FILE) if not (folder / n).is_file()]
    if missing:
        raise ProvisioningRefused(
            f"Of {CERTIFICATE_FILE} and {KEY_FILE}, {missing[0]} is missing; give both as PEM "
            "files, or none for a self-signed certificate."
        )
    chain = (folder / CERTIFICATE_FILE).read_text(encoding="utf-8")
    private = (folder / KEY_FILE).read_text(encoding="utf-8")
    try:
        certificate = x509.load_pem_x509_certificates(chain.encode())[0]
        key = load_pem_private_key(private.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ProvisioningRefused(
            f"{CERTIFICATE_FILE} or {KEY_FILE} is no PEM certificate chain, or no private key "
            "without a password, that could be read."
        ) from error
    public = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if certificate.public_key().public_bytes(*public) != key.public_key().public_bytes(*public):
        raise ProvisioningRefused(
            f"{KEY_FILE} is not the key of the first certificate in {CERTIFICATE_FILE}; the "
            "server's own certificate comes first, those that issued it after it."
        )
    if certificate.not_valid_after_utc < now:
        raise ProvisioningRefused(
            f"The certificate in {CERTIFICATE_FILE} ended on "
            f"{certificate.not_valid_after_utc:%Y-%m-%d}; give one that is valid."
        )
    return chain, private
