"""The whole way of a hospital: storescu, our node, a score, results in a real Orthanc."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from calcium_scoring.dicom.write_series import write_ct_series
from service.adapters.database.audit_log import SqlAuditLog
from service.adapters.database.engine import open_engine
from service.adapters.dicom_network.storage_scp import ScpTerms, StorageScp
from service.adapters.rules.yaml_rules import load_rules
from service.application.incoming_studies import IncomingStudies, IncomingTerms
from service.application.receive_studies import Desk, receive_studies
from service.application.received_instances import Reception
from tests.fakes import RecordingJobQueue, plaque_volume
from tests.integration.test_push_to_orthanc import (
    KINDS,
    PushingService,
    c_store,
    serving,
)
from tests.orthanc import free_port, running_orthanc

__all__ = ["serving"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_series_sent_by_storescu_comes_back_as_results_that_the_archive_commits_to(
    tmp_path: Path,
    serving: Callable[..., PushingService],
) -> None:
    port = free_port()
    archive_folder = tmp_path / "orthanc"
    archive_folder.mkdir()
    files = write_ct_series(plaque_volume(), tmp_path / "series", seed=1)
    with running_orthanc(archive_folder, {"us": ["CACSCORE", "127.0.0.1", port]}) as orthanc:
        service = serving(c_store(orthanc, storage_commitment=True))
        parts = service.parts
        reception = Reception(
            store=parts.store,
            artefacts=parts.artefacts,
            queue=RecordingJobQueue(),
            audit=SqlAuditLog(open_engine(service.settings.record_url)),
            limits=parts.limits,
            waiting_jobs=lambda: 0,
            queue_length=10,
        )
        incoming = IncomingStudies(
            tmp_path / "incoming", IncomingTerms(quiet=timedelta(0), reserve_bytes=0)
        )
        node = StorageScp(ScpTerms(port=port), incoming, parts.outbox.settle_commitment)
        node.start()
        try:
            sent = subprocess.run(
                ["storescu", "-aec", "CACSCORE", "127.0.0.1", str(port), *files],
                capture_output=True,
                check=False,
            )
            assert sent.returncode == 0, sent.stderr
            (study,) = receive_studies(incoming, Desk(reception, load_rules(None)))
            service.work_on([study.job_id])
            service.push()
            deadline = time.monotonic() + 20.0
            while (push := service.pushes(study.study_id)[0])["state"] != "committed":
                assert time.monotonic() < deadline, push
                time.sleep(0.1)
        finally:
            node.stop(patience_s=1.0)
        score = service.client.get(f"/studies/{study.study_id}/score").json()
        # 2 slices x 25 mm2 x weight 2
        assert score["agatston_score"] == 100.0
        for kind, uid in KINDS.items():
            assert orthanc.found("instances", SOPClassUID=uid), kind
