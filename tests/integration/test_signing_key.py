"""The key of the data folder: made once, for its owner only, and never half written."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.adapters.signing.ed25519 import Ed25519Signer, is_signature, read_public_key
from service.application.errors import SigningKeyUnusable


def test_whoever_comes_first_makes_the_key_and_all_take_it(tmp_path: Path) -> None:
    path = tmp_path / "data" / "signing-key.pem"
    signers = [Ed25519Signer(path) for _ in range(8)]

    with ThreadPoolExecutor(len(signers)) as pool:
        keys = set(pool.map(lambda signer: signer.public_key, signers))

    assert len(keys) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_signature_is_of_one_message_and_one_key(tmp_path: Path) -> None:
    signer, other = Ed25519Signer(tmp_path / "a.pem"), Ed25519Signer(tmp_path / "b.pem")
    signature = signer.sign(b"a score of 100")

    assert is_signature(signer.public_key, b"a score of 100", signature)
    assert not is_signature(signer.public_key, b"a score of 101", signature)
    assert not is_signature(other.public_key, b"a score of 100", signature)
    assert not is_signature(b"no key", b"a score of 100", signature)
    assert Ed25519Signer(tmp_path / "a.pem").sign(b"a score of 100") == signature


def test_the_printed_key_is_read_back(tmp_path: Path) -> None:
    signer = Ed25519Signer(tmp_path / "a.pem")
    (tmp_path / "public.pem").write_text(signer.public_pem)

    assert read_public_key(tmp_path / "public.pem") == signer.public_key


@pytest.mark.parametrize("content", ["", "not a key"])
def test_a_file_that_is_no_key_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    path = tmp_path / "signing-key.pem"
    path.write_text(content)

    with pytest.raises(SigningKeyUnusable, match="Ed25519 key in PEM is accepted"):
        Ed25519Signer(path).sign(b"")
    with pytest.raises(SigningKeyUnusable):
        read_public_key(path)
    assert path.read_text() == content
