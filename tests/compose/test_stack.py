"""A study through proxy, gateway, Redis, PostgreSQL and worker; then parts of it are taken away."""

from __future__ import annotations

import http.client
import os
import signal
import ssl
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import dcmread

from tests.benchmarks.queueing_measured import copy_of
from tests.compose.stack import Stack, eventually

PHANTOM_SEED = 39  # a gated scan of 49 slices
CACSCORE = (sys.executable, "-m", "service.cli.main")
LONG_RUNNING = ("proxy", "gateway", "worker", "database", "broker")

pytestmark = [pytest.mark.compose, pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Archives with the scan of one simulated patient: other bytes, so other studies."""
    out = tmp_path_factory.mktemp("phantom")
    subprocess.run(
        [*CACSCORE, "phantom", "--zip", "--seed", str(PHANTOM_SEED), "--out", str(out)],
        check=True,
        timeout=600,
    )
    scan = (out / "patient-0001" / "ct.zip").read_bytes()
    archives = [out / f"{number}.zip" for number in range(4)]
    for number, archive in enumerate(archives):
        archive.write_bytes(copy_of(scan, number))
    return archives


@pytest.fixture(scope="session")
def first_report(stack: Stack, phantoms: list[Path]) -> tuple[str, dict[str, Any]]:
    study_id = stack.submit(phantoms[0])
    return study_id, stack.wait_for_score(study_id)


def study(stack: Stack, study_id: str) -> dict[str, Any]:
    with stack.client() as client:
        document: dict[str, Any] = client.get(f"/studies/{study_id}").raise_for_status().json()
    return document


def test_study_goes_through_the_whole_stack_to_score_seg_and_sr(
    stack: Stack, first_report: tuple[str, dict[str, Any]]
) -> None:
    study_id, report = first_report

    assert report["agatston_score"] == pytest.approx(
        sum(lesion["agatston_score"] for lesion in report["lesions"])
    )
    with stack.client() as client:
        for name, modality in (("mask.dcm", "SEG"), ("report.dcm", "SR")):
            answer = client.get(f"/studies/{study_id}/artifacts/{name}").raise_for_status()
            found = dcmread(BytesIO(answer.content))
            assert found.Modality == modality
            assert found.StudyInstanceUID == report["series"]["study_instance_uid"]


def test_requests_without_the_key_are_answered_401_and_with_it_over_tls_only(stack: Stack) -> None:
    with stack.client(key="") as client:
        assert client.get("/studies").status_code == 401
        assert client.get("/healthz").status_code == 200
    port = int(stack.url.rsplit(":", 1)[1])
    plain = http.client.HTTPConnection("localhost", port, timeout=10)
    plain.request("GET", "/healthz")
    assert plain.getresponse().status == 400


def test_proxy_refuses_a_body_beyond_the_upload_limit_before_it_is_sent(stack: Stack) -> None:
    port = int(stack.url.rsplit(":", 1)[1])
    context = ssl._create_unverified_context()  # noqa: S323 - only the answer matters here
    connection = http.client.HTTPSConnection("localhost", port, timeout=20, context=context)
    connection.putrequest("POST", "/studies")
    connection.putheader("Content-Length", str(3 * 1024**3))
    connection.putheader("Authorization", f"Bearer {stack.key}")
    connection.endheaders()

    answer = connection.getresponse()

    assert answer.status == 413
    assert answer.getheader("Content-Type") == "application/problem+json"


def test_no_program_runs_as_root_or_can_write_its_own_image(stack: Stack) -> None:
    for service in LONG_RUNNING:
        (container,) = stack.containers(service)
        known = stack.inspect(container)
        assert stack.compose("exec", "--no-TTY", service, "id", "-u").strip() != "0", service
        assert known["HostConfig"]["ReadonlyRootfs"], service
        assert known["HostConfig"]["CapDrop"] == ["ALL"], service
        assert "no-new-privileges:true" in known["HostConfig"]["SecurityOpt"], service


def test_secrets_are_in_files_of_their_program_only_and_in_no_environment(stack: Stack) -> None:
    url = stack.compose("exec", "--no-TTY", "worker", "cat", "/run/cacscore/cacscore_database_url")
    password = url.split(":")[2].split("@")[0]
    assert len(password) == 43
    for service in LONG_RUNNING:
        (container,) = stack.containers(service)
        environment = "\n".join(stack.inspect(container)["Config"]["Env"])
        assert password not in environment
        modes = stack.compose(
            *("exec", "--no-TTY", service, "sh", "-c", "stat -c '%a %u' /run/cacscore/*")
        )
        user = stack.compose("exec", "--no-TTY", service, "id", "-u").strip()
        assert set(modes.splitlines()) == {f"400 {user}"}, service


def test_gateway_image_has_no_inference_stack(stack: Stack) -> None:
    for module in ("onnxruntime", "highdicom", "pydicom"):
        found = stack.compose(
            *("exec", "--no-TTY", "gateway", "python", "-c"),
            f"import importlib.util as u; print(u.find_spec('{module}'))",
        )
        assert found.strip() == "None"


def test_worker_that_is_killed_in_mid_job_leads_to_one_result(
    stack: Stack, phantoms: list[Path]
) -> None:
    before = scores_total(stack)
    stack.up("--scale", "worker=3", "--no-recreate")
    assert len(stack.containers("worker")) == 3
    study_id = stack.submit(phantoms[1])
    eventually(lambda: True if study(stack, study_id)["status"] == "running" else None, within_s=60)
    # All of them: which one has the study is nobody's business. Docker starts them again.
    for container in stack.containers("worker"):
        os.kill(stack.inspect(container)["State"]["Pid"], signal.SIGKILL)

    stack.wait_for_score(study_id)

    assert study(stack, study_id)["attempt"] == 2
    with stack.client() as client:
        results = client.get(f"/studies/{study_id}/results").raise_for_status().json()["results"]
    assert len(results) == 1
    assert scores_total(stack) == before + 1
    stack.up("--scale", "worker=1", "--no-recreate")


def test_study_survives_a_restart_of_redis_and_postgresql(
    stack: Stack, phantoms: list[Path]
) -> None:
    stack.compose("stop", "worker")
    study_id = stack.submit(phantoms[2])
    stack.compose("restart", "broker", "database")
    stack.up()

    stack.wait_for_score(study_id)

    assert study(stack, study_id)["attempt"] == 1


def test_studies_keys_and_certificate_outlive_down_and_up(
    stack: Stack, first_report: tuple[str, dict[str, Any]]
) -> None:
    study_id, report = first_report
    with stack.client() as client:
        before = client.get("/studies").raise_for_status().json()
    stack.compose("down")
    stack.up()

    # The same key, and the same certificate, which the client checks.
    with stack.client() as client:
        assert client.get("/studies").raise_for_status().json() == before
        assert client.get(f"/studies/{study_id}/score").json() == report


def test_prometheus_of_the_profile_scrapes_the_gateway_with_its_own_key(stack: Stack) -> None:
    stack.compose("--profile", "observability", "up", "--detach", "--wait", "prometheus")

    def up() -> str | None:
        found = stack.compose(
            *("--profile", "observability", "exec", "--no-TTY", "prometheus", "promtool"),
            *("query", "instant", "http://127.0.0.1:9090", 'up{job="cacscore"}'),
        )
        return found if "=> 1 @" in found else None

    # Names are looked up every 30 s, gateways scraped every 15 s.
    eventually(up, within_s=240)


def test_scan_in_the_archive_goes_to_the_node_and_seg_and_sr_come_back(
    stack: Stack, tmp_path: Path
) -> None:
    profiles = ("--profile", "dicom", "--profile", "pacs")
    stack.compose(*profiles, "up", "--detach", "--wait", "--wait-timeout", "300")
    # Another patient than those that were sent as archives.
    subprocess.run(
        [*CACSCORE, "phantom", "--zip", "--seed", str(PHANTOM_SEED + 1), "--out", str(tmp_path)],
        check=True,
        timeout=600,
    )
    with httpx.Client(base_url=stack.archive_url, timeout=60.0) as archive:
        eventually(
            lambda: archive.get("/system").is_success or None,
            within_s=60,
        )
        sent = archive.post("/instances", content=(tmp_path / "patient-0001/ct.zip").read_bytes())
        assert sent.is_success, sent.text

        def results() -> dict[str, dict[str, Any]] | None:
            series = archive.get("/series", params={"expand": ""}).json()
            found = {one["MainDicomTags"]["Modality"]: one for one in series}
            return found if {"SEG", "SR"} <= set(found) else None

        # Slice by slice to the node, 30 s of quiet, score, push.
        found = eventually(results, within_s=400)
        study_uids = {one["ParentStudy"] for one in found.values()}
        (instance, *_) = found["SR"]["Instances"]
        report = dcmread(BytesIO(archive.get(f"/instances/{instance}/file").content))
    assert len(study_uids) == 1, "Results belong to the study of the scan"
    assert report.Modality == "SR"
    with stack.client() as client:
        (newest, *_) = client.get("/studies").raise_for_status().json()["studies"]
    assert [one["state"] for one in study(stack, newest["id"])["pushes"]] == ["sent"]
    stack.compose(*profiles, "rm", "--stop", "--force", "dicom", "pacs")


def test_artefacts_lie_in_the_bucket_of_the_profile_s3(stack: Stack, phantoms: list[Path]) -> None:
    with_bucket = ("--env-file", "docker/s3.env")
    stack.compose(*with_bucket, "up", "--detach", "--wait", "--wait-timeout", "300")
    before = file_count(stack)

    study_id = stack.submit(phantoms[3])
    stack.wait_for_score(study_id)

    with stack.client() as client:
        mask = client.get(f"/studies/{study_id}/artifacts/mask.dcm").raise_for_status().content
    assert dcmread(BytesIO(mask)).Modality == "SEG"
    assert file_count(stack) == before, "Nothing of the study lies on the volume"
    # Without the bucket's settings it is not found.
    stack.compose(*with_bucket, "rm", "--stop", "--force", "objects", "bucket")
    stack.up()
    with stack.client() as client:
        assert client.get(f"/studies/{study_id}/artifacts/mask.dcm").status_code == 503
        client.delete(f"/studies/{study_id}")


def file_count(stack: Stack) -> int:
    """Count the files of studies on the volume."""
    listed = stack.compose(
        *("exec", "--no-TTY", "gateway", "find", "/var/lib/cacscore/artefacts/studies"),
        *("-type", "f"),
    )
    return len(listed.splitlines())


def scores_total(stack: Stack) -> float:
    with stack.client() as client:
        text = client.get("/metrics").raise_for_status().text
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if line.startswith("cacscore_scores_total{")
    )
