"""Bearer tokens of a real OpenID Connect provider (npm's oidc-provider) on a running gateway."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from service.adapters.database.engine import open_engine
from service.adapters.database.schema import upgrade_schema
from service.settings import Settings
from tests.integration.conftest import running_gateway

HERE = Path(__file__).parent
AUDIENCE = "cacscore"


@pytest.fixture(scope="session")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if shutil.which("npm") is None or shutil.which("node") is None:
        if os.environ.get("CI"):
            pytest.fail("No npm on this machine")
        pytest.skip("No npm on this machine")
    folder = tmp_path_factory.mktemp("provider")
    for name in ("package.json", "provider.mjs"):
        shutil.copy(HERE / name, folder)
    subprocess.run(["npm", "install", "--silent", "--no-audit"], cwd=folder, check=True)
    with subprocess.Popen(
        ["node", "provider.mjs"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as provider:
        assert provider.stdout is not None
        said = ""
        while not said.startswith("http"):
            said = provider.stdout.readline()
            assert said, "the provider did not start"
        yield said.strip()
        provider.terminate()


@pytest.fixture
def gateway(settings: Settings, issuer: str) -> Iterator[httpx.Client]:
    guarded = settings.model_copy(
        update={
            "auth": "required",
            "oidc_issuer": issuer,
            "oidc_audience": AUDIENCE,
            "oidc_tenant_claim": "tenant",
            "oidc_leeway_s": 0.0,
        }
    )
    guarded.data_dir.mkdir(parents=True)
    upgrade_schema(open_engine(guarded.record_url))
    with running_gateway(guarded) as client:
        yield client


def token(
    issuer: str,
    client_id: str = "radiology",
    *,
    scope: str = "cacscore:read cacscore:write",
    audience: str = AUDIENCE,
) -> str:
    """Ask the provider as a machine does."""
    answer = httpx.post(
        f"{issuer}/token",
        data={
            "grant_type": "client_credentials",
            "scope": scope,
            "resource": f"urn:{audience}",
        },
        auth=(client_id, "secret-of-a-test-secret-of-a-test"),
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def ask(gateway: httpx.Client, token: str, method: str = "GET", path: str = "/studies") -> int:
    return gateway.request(method, path, headers={"Authorization": f"Bearer {token}"}).status_code


def test_a_token_of_the_provider_opens_the_studies_of_its_tenant(
    gateway: httpx.Client, issuer: str, study_zip: Path
) -> None:
    headers = {"Authorization": f"Bearer {token(issuer)}", "Content-Type": "application/zip"}
    sent = gateway.post("/studies", content=study_zip.read_bytes(), headers=headers)
    assert sent.status_code == 202, sent.text
    path = f"/studies/{sent.json()['id']}"

    assert ask(gateway, token(issuer), path=path) == 200
    assert ask(gateway, token(issuer, "cardiology"), path=path) == 404
    reading = token(issuer, scope="cacscore:read")
    assert ask(gateway, reading, path=path) == 200
    assert ask(gateway, reading, "DELETE", path) == 403


def test_a_token_for_another_service_or_one_that_has_expired_opens_nothing(
    gateway: httpx.Client, issuer: str
) -> None:
    assert ask(gateway, token(issuer, audience="another")) == 401
    # A resource with "short" in its name is given tokens of one second.
    short = token(issuer, audience=f"short:{AUDIENCE}")
    assert jwt.decode(short, options={"verify_signature": False})["aud"] == AUDIENCE
    time.sleep(2)
    assert ask(gateway, short) == 401


def resigned(claims: dict[str, object], key: object, algorithm: str) -> str:
    headers = {"kid": "first", "typ": "at+jwt"}
    return jwt.encode(claims, key, algorithm=algorithm, headers=headers)  # type: ignore[arg-type]


def _none(claims: dict[str, object]) -> str:
    return resigned(claims, None, "none")


def _shared_secret(claims: dict[str, object]) -> str:
    return resigned(claims, "the public key as a secret".ljust(40, "."), "HS256")


def _own_key(claims: dict[str, object]) -> str:
    return resigned(claims, rsa.generate_private_key(65537, 2048), "RS256")


@pytest.mark.parametrize("forge", [_none, _shared_secret, _own_key])
def test_a_forged_token_opens_nothing(
    gateway: httpx.Client, issuer: str, forge: Callable[[dict[str, object]], str]
) -> None:
    honest = token(issuer)
    claims = jwt.decode(honest, options={"verify_signature": False})
    assert ask(gateway, honest) == 200
    assert ask(gateway, forge(claims)) == 401


def test_a_token_that_is_cut_or_changed_opens_nothing(gateway: httpx.Client, issuer: str) -> None:
    honest = token(issuer)
    header, payload, signature = honest.split(".")
    for broken in (honest[:-10], f"{header}.{payload}.", f"{header}.{payload[:-2]}AA.{signature}"):
        assert ask(gateway, broken) == 401
