"""The files of the compose profile pacs, read by a real Orthanc: CT goes on to the node, once."""

from __future__ import annotations

import io
import json
import time
import zipfile
from pathlib import Path

import httpx
from pydicom import dcmread
from pynetdicom import AE, evt

from calcium_scoring.dicom.acceptance import ACCEPTED_SOP_CLASSES
from tests.orthanc import free_port, running_orthanc

ONLY_IN_THE_CONTAINER = {"StorageDirectory", "IndexDirectory", "LuaScripts", "DicomModalities"}
PATIENCE_S = 60.0


def test_archive_sends_ct_on_and_keeps_results_to_itself(
    repository: Path, tmp_path: Path, study_zip: Path
) -> None:
    received: list[str] = []

    def keep(event: evt.Event) -> int:
        received.append(str(event.dataset.SOPInstanceUID))
        return 0x0000

    configured = json.loads((repository / "docker/pacs/orthanc.json").read_text())
    title = configured["DicomModalities"]["cacscore"][0]
    node, port = AE(title), free_port()
    for uid in ACCEPTED_SOP_CLASSES:
        node.add_supported_context(uid)
    listener = node.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)]
    )
    assert listener is not None
    (tmp_path / "orthanc").mkdir()
    try:
        with running_orthanc(
            tmp_path / "orthanc",
            {"cacscore": [title, "127.0.0.1", port]},
            script=(repository / "docker/pacs/route.lua").read_text(),
            settings={
                name: value
                for name, value in configured.items()
                if name not in ONLY_IN_THE_CONTAINER
            },
        ) as orthanc:
            with zipfile.ZipFile(study_zip) as archive:
                slices = [archive.read(name) for name in archive.namelist()]
            other = dcmread(io.BytesIO(slices[0]))
            other.Modality, other.SOPInstanceUID = "OT", f"{other.SOPInstanceUID}.1"
            other.file_meta.MediaStorageSOPInstanceUID = other.SOPInstanceUID
            changed = io.BytesIO()
            other.save_as(changed)
            for content in (changed.getvalue(), *slices):
                httpx.post(f"{orthanc.url}/instances", content=content).raise_for_status()
            deadline = time.monotonic() + PATIENCE_S
            while len(received) < len(slices):
                assert time.monotonic() < deadline, (len(received), len(slices))
                time.sleep(0.1)
            assert orthanc.count_of_instances() == len(slices) + 1
    finally:
        listener.shutdown()
    assert len(set(received)) == len(received) == len(slices)
    assert str(other.SOPInstanceUID) not in received
