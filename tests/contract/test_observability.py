"""Alerts, dashboard and page name the metrics that there are, and Prometheus accepts them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from service.adapters.metrics.prometheus_metrics import GatewayMetrics, Sources
from service.application.errors import GIVEN_UP_CODES
from service.application.jobs import JobStatus, Stage
from service.application.operations import (
    STAGE_BOUNDS_S,
    AttemptOutcome,
    DurationHistogram,
    SeenWorker,
    ServiceFacts,
    WorkerBeat,
    WorkerState,
)
from service.application.push_status import PushState
from service.application.webhooks import DeliveryState
from tests.promtool import promtool

FACTS = ServiceFacts(
    jobs_by_status=dict.fromkeys(JobStatus, 1),
    due_jobs=1,
    oldest_due_s=1.0,
    scores={("DenseRAUnet", "0.3.0"): 1},
    failures={"too_few_slices": 1},
    attempts=dict.fromkeys(AttemptOutcome, 1),
    stage_durations={Stage.READING: DurationHistogram(1, 1.0, (0,) * len(STAGE_BOUNDS_S))},
    workers=(
        SeenWorker(
            WorkerBeat("w", WorkerState.READY, "DenseRAUnet", "0.3.0", "CPUExecutionProvider"),
            started_at=datetime(2026, 3, 1, tzinfo=UTC),
            seen_at=datetime(2026, 3, 1, tzinfo=UTC),
            is_lost=False,
        ),
    ),
    pushes={("pacs", PushState.SENT): 1},
    oldest_push_s={"pacs": 0.0},
)

METRIC = re.compile(r"\bcacscore_\w+")


@pytest.fixture(scope="module")
def exposed() -> dict[str, set[str]]:
    """Every metric of ours as a scrape shows it, with its labels."""
    metrics = GatewayMetrics(service_version="1", schema_version=1)
    metrics.watch(
        Sources(
            lambda: FACTS, lambda: 1, lambda: 1, lambda: False, lambda: {DeliveryState.FAILED: 1}
        )
    )
    metrics.uploads_at_door(received=1, waiting=1)
    metrics.request_begun()
    metrics.request_ended(method="GET", route="/", status=200, duration_s=1.0, code="not_a_zip")
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        if family.name.startswith("cacscore_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            found[name] = labels
    return found


@pytest.fixture(scope="module")
def folder(repository: Path) -> Path:
    return repository / "docker" / "observability"


def expressions(folder: Path) -> Iterator[str]:
    for group in yaml.safe_load((folder / "alerts.yml").read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    dashboard: dict[str, Any] = json.loads((folder / "grafana-dashboard.json").read_text())
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def test_alerts_and_dashboard_ask_for_metrics_and_labels_that_there_are(
    folder: Path, exposed: dict[str, set[str]]
) -> None:
    asked = list(expressions(folder))
    assert len(asked) > 30
    for expression in asked:
        for name in METRIC.findall(expression):
            assert re.sub(r"_(bucket|count|sum)$", "", name) in exposed, expression
        for name, selector in re.findall(r"(cacscore_\w+)\{([^}]*)\}", expression):
            labels = set(re.findall(r"(\w+)\s*[=!]~?", selector))
            assert labels <= exposed[re.sub(r"_(bucket|count|sum)$", "", name)], expression


def test_page_lists_every_metric_with_its_labels_and_no_other(
    repository: Path, exposed: dict[str, set[str]]
) -> None:
    page = (repository / "docs" / "how-to" / "monitor.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(cacscore_\w+)` \|([^|]*)\|", page, re.MULTILINE)
    assert {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows} == exposed


def test_page_says_what_to_do_about_every_alert(repository: Path, folder: Path) -> None:
    page = (repository / "docs" / "how-to" / "monitor.md").read_text(encoding="utf-8")
    groups = yaml.safe_load((folder / "alerts.yml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    assert set(re.findall(r"^\| `(Cacscore\w+)` \|", page, re.MULTILINE)) == alerts


def test_panels_of_the_dashboard_do_not_overlap(folder: Path) -> None:
    dashboard = json.loads((folder / "grafana-dashboard.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells


def test_alerts_fire_when_they_should_by_prometheus_own_test(
    repository: Path, folder: Path, tmp_path: Path
) -> None:
    shutil.copy(folder / "alerts.yml", tmp_path)
    shutil.copy(repository / "tests" / "contract" / "alerts_test.yml", tmp_path)
    assert promtool("check", "rules", str(tmp_path / "alerts.yml")) == ""
    assert promtool("test", "rules", str(tmp_path / "alerts_test.yml")) == ""


def test_every_expression_of_the_dashboard_is_well_formed(folder: Path, tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expression}
        for number, expression in enumerate(expressions(folder))
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert promtool("check", "rules", str(file)) == ""


def test_alert_on_studies_that_were_given_up_knows_every_code_of_theirs(folder: Path) -> None:
    (expression,) = [one for one in expressions(folder) if "cacscore_jobs_failed_total{" in one]
    (codes,) = re.findall(r'code=~"([^"]*)"', expression)
    assert set(codes.split("|")) == GIVEN_UP_CODES
