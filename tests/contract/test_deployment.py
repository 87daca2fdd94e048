"""Dockerfiles, compose file and Kubernetes manifests, judged by their own tools."""

from __future__ import annotations

import json
import re
import subprocess
import sysconfig
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml

from service.adapters.destinations.places import read_destinations
from service.adapters.rules.yaml_rules import load_rules
from service.provision.secret_files import Owners
from service.settings import ENVIRONMENT_PREFIX, SECRETS_DIR_VARIABLE, Settings

CREDENTIALS_VARIABLE = "AWS_SHARED_CREDENTIALS_FILE"

OVERLAYS = ("cpu", "dicom", "gpu", "keda")
LONG_RUNNING = ("Deployment", "StatefulSet", "Job")


def program(name: str) -> str:
    return str(Path(sysconfig.get_path("scripts")) / name)


@pytest.fixture(scope="module")
def compose(repository: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((repository / "docker-compose.yml").read_text())
    return document


@pytest.fixture(scope="module")
def manifests(repository: Path) -> dict[str, list[dict[str, Any]]]:
    """What each overlay amounts to, merged by kubectl itself."""
    return {
        name: list(
            yaml.safe_load_all(
                subprocess.run(
                    [
                        program("kubectl"),
                        "kustomize",
                        str(repository / "kubernetes/overlays" / name),
                    ],
                    check=True,
                    capture_output=True,
                    text=True,
                    timeout=60,
                ).stdout
            )
        )
        for name in OVERLAYS
    }


def dockerfiles(repository: Path) -> list[Path]:
    return sorted(
        [*repository.glob("docker/*.Dockerfile"), *repository.glob("docker/*/Dockerfile")]
    )


def test_hadolint_finds_nothing_in_the_dockerfiles(repository: Path) -> None:
    files = dockerfiles(repository)
    assert len(files) == 5
    done = subprocess.run(
        [program("hadolint"), "--no-color", *map(str, files)],
        check=False,
        capture_output=True,
        text=True,
        cwd=repository,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


def test_every_image_is_labelled_runs_as_nobody_special_and_pins_its_packages(
    repository: Path,
) -> None:
    for file in dockerfiles(repository):
        text = file.read_text()
        assert "org.opencontainers.image.title" in text, file
        users = re.findall(r"^USER (\S+)$", text, re.MULTILINE)
        assert users, file
        assert users[-1] not in {"root", "0", "0:0"}, file
        for line in re.findall(r"pip \S+ \S+ install .*", text):
            assert "-c constraints.txt" in line or "--no-deps" in line, (file, line)


def test_every_setting_of_the_compose_file_exists(compose: dict[str, Any]) -> None:
    known = {f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in Settings.model_fields}

    # One that the S3 client reads by itself.
    assert set(compose["x-environment"]) <= {*known, SECRETS_DIR_VARIABLE, CREDENTIALS_VARIABLE}
    node = set(compose["services"]["dicom"]["environment"])
    assert node <= {*known, SECRETS_DIR_VARIABLE, CREDENTIALS_VARIABLE}


def test_every_service_of_the_compose_file_is_confined(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        # The archive of the profile pacs is a test tool and says so.
        assert service["read_only"] or name == "pacs", name


def test_only_proxy_and_dicom_node_can_be_opened_to_other_machines(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for port in service.get("ports", []):
            own = ("${CACSCORE_BIND:-127.0.0.1}:", "${CACSCORE_DICOM_BIND:-127.0.0.1}:")
            may_be_opened = name in {"proxy", "dicom"} and port.startswith(own)
            assert may_be_opened or port.startswith("127.0.0.1:"), (name, port)
    for name in ("database", "broker", "objects", "bucket"):
        assert compose["services"][name]["networks"] == ["inside"]
    assert compose["networks"]["inside"] == {"internal": True}


def test_users_of_the_compose_file_are_those_that_secrets_are_given_to(
    compose: dict[str, Any],
) -> None:
    owners = Owners()
    for service, owner in (
        ("database", owners.database),
        ("broker", owners.broker),
        ("proxy", owners.proxy),
        ("prometheus", owners.monitoring),
        ("grafana", owners.monitoring),
        ("objects", owners.objects),
    ):
        assert compose["services"][service]["user"] == f"{owner}:{owner}"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_manifests_are_valid_for_kubernetes(
    overlay: str, manifests: dict[str, list[dict[str, Any]]]
) -> None:
    judged = 0
    for manifest in manifests[overlay]:
        if manifest["apiVersion"].startswith("keda.sh/"):
            continue  # a resource of KEDA, of which kubernetes-validate has no schema
        for version in ("1.30", "1.37"):
            kubernetes_validate.validate(manifest, version, strict=True)
        judged += 1
    assert judged >= 14


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_pass_the_restricted_pod_security_standard(
    overlay: str, manifests: dict[str, list[dict[str, Any]]]
) -> None:
    pods = [
        (manifest["metadata"]["name"], manifest["spec"]["template"]["spec"])
        for manifest in manifests[overlay]
        if manifest["kind"] in LONG_RUNNING
    ]
    expected = {"gateway", "worker", "database", "broker", "record"}
    assert {name for name, _ in pods} == expected | ({"dicom"} if overlay == "dicom" else set())
    for name, pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
            assert "memory" in container["resources"]["limits"], name


def by_kind(manifests: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [m for m in manifests if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_name_that_a_manifest_refers_to_is_there(
    overlay: str, manifests: dict[str, list[dict[str, Any]]]
) -> None:
    everything = manifests[overlay]
    claims = {m["metadata"]["name"] for m in everything if m["kind"] == "PersistentVolumeClaim"}
    maps = {m["metadata"]["name"] for m in everything if m["kind"] == "ConfigMap"}
    for manifest in everything:
        if manifest["kind"] not in LONG_RUNNING:
            continue
        pod = manifest["spec"]["template"]["spec"]
        templates = manifest["spec"].get("volumeClaimTemplates", [])
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        volumes |= {template["metadata"]["name"] for template in templates}
        for volume in pod.get("volumes", []):
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
            for source in container.get("envFrom", []):
                assert source["configMapRef"]["name"] in maps


def test_gpu_overlay_asks_for_a_gpu_and_lets_no_worker_fall_back_to_a_cpu(
    manifests: dict[str, list[dict[str, Any]]],
) -> None:
    pod = by_kind(manifests["gpu"], "Deployment", "worker")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "cacscore-worker-gpu:latest"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    environment = {one["name"]: one["value"] for one in container["env"]}
    assert environment["CACSCORE_ONNX_PROVIDERS"] == "CUDAExecutionProvider"


def test_keda_scales_the_workers_by_metrics_that_the_gateway_has(
    repository: Path, manifests: dict[str, list[dict[str, Any]]]
) -> None:
    worker = by_kind(manifests["keda"], "Deployment", "worker")
    assert "replicas" not in worker["spec"]
    scaled = by_kind(manifests["keda"], "ScaledObject", "worker")
    assert scaled["spec"]["scaleTargetRef"]["name"] == "worker"
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    documented = (repository / "docs/how-to/monitor.md").read_text()
    names = set(re.findall(r"cacscore_\w+", query))
    assert names == {"cacscore_jobs_due", "cacscore_jobs"}
    assert all(f"`{name}`" in documented for name in names)


def test_files_of_the_compose_stack_are_usable_and_send_nothing_unasked(repository: Path) -> None:
    places = read_destinations(repository / "docker/config/destinations.yaml")
    rules = load_rules(repository / "docker/config/rules.yaml").rules

    assert not any(one.automatic for one in places.destinations)
    # One rule for the archive of the profile pacs, then what is built in.
    assert rules[1:] == load_rules(None).rules
    assert rules[0].destinations == ("test-pacs",)
    assert set(rules[0].destinations) <= set(places.terms)


def test_files_of_the_kubernetes_base_are_no_destinations_and_the_built_in_rules(
    manifests: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    (found,) = [
        one
        for one in manifests["cpu"]
        if one["kind"] == "ConfigMap" and one["metadata"]["name"].startswith("cacscore-config")
    ]
    for name, text in found["data"].items():
        (tmp_path / name).write_text(text)

    assert read_destinations(tmp_path / "destinations.yaml").destinations == ()
    assert load_rules(tmp_path / "rules.yaml") == load_rules(None)


def test_dicom_node_of_kubernetes_reaches_the_database_and_has_a_service(
    manifests: dict[str, list[dict[str, Any]]],
) -> None:
    policy = by_kind(manifests["dicom"], "NetworkPolicy", "inside")
    (sender,) = policy["spec"]["ingress"][0]["from"]
    (names,) = sender["podSelector"]["matchExpressions"]
    assert "dicom" in names["values"]
    service = by_kind(manifests["dicom"], "Service", "dicom")
    node = by_kind(manifests["dicom"], "StatefulSet", "dicom")
    (container,) = node["spec"]["template"]["spec"]["containers"]
    assert service["spec"]["selector"] == node["spec"]["selector"]["matchLabels"]
    assert service["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]
    known = {f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert {one["name"] for one in container["env"]} <= known


def test_bucket_of_the_compose_file_and_its_settings_know_each_other(
    repository: Path, compose: dict[str, Any]
) -> None:
    lines = (repository / "docker/s3.env").read_text().splitlines()
    said = dict(line.split("=", 1) for line in lines if not line.startswith("#"))

    for name in ("objects", "bucket"):
        assert compose["services"][name]["profiles"] == [said["COMPOSE_PROFILES"]]
    assert urlsplit(said["CACSCORE_S3_ENDPOINT_URL"]).hostname in compose["services"]
    assert set(said) - {"COMPOSE_PROFILES"} <= set(compose["x-environment"])
    folder, _, name = said[CREDENTIALS_VARIABLE].rpartition("/")
    assert name == "credentials"
    for service in ("gateway", "worker", "dicom", "bucket"):
        assert f"secrets-bucket:{folder}:ro" in compose["services"][service]["volumes"]


def test_dicom_node_of_the_compose_file_is_bounded_and_asked_by_c_echo(
    compose: dict[str, Any],
) -> None:
    node = compose["services"]["dicom"]

    assert node["profiles"] == ["dicom"]
    assert node["mem_limit"]
    assert ".echo()" in node["healthcheck"]["test"][-1]
    assert node["environment"]["CACSCORE_DICOM_PEERS"].startswith("127.0.0.1,")


def test_archive_of_the_compose_file_node_and_destination_know_each_other(
    repository: Path, compose: dict[str, Any]
) -> None:
    archive = json.loads((repository / "docker/pacs/orthanc.json").read_text())
    (place,) = read_destinations(repository / "docker/config/destinations.yaml").destinations
    (title, host, port) = archive["DicomModalities"]["cacscore"]

    assert (title, host) == (Settings().dicom_ae_title, "dicom")
    assert str(port) == compose["services"][host]["environment"]["CACSCORE_DICOM_PORT"]
    assert place.kind == "c-store"
    assert place.ae_title == archive["DicomAet"]
    assert place.host in compose["services"]
    rule = load_rules(repository / "docker/config/rules.yaml").rules[0]
    assert archive["DicomAet"] in str(rule.when)
