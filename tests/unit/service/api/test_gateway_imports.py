"""The gateway image is small: it loads neither the runtime nor what reads DICOM or writes masks."""

from __future__ import annotations

import json
import subprocess
import sys

UNWANTED = ["onnxruntime", "torch", "pydicom", "gdcm", "highdicom", "nibabel"]


def test_gateway_starts_without_inference_and_dicom_libraries() -> None:
    code = (
        "import json, sys\n"
        "from service.api.app import create_app\n"
        "create_app()\n"
        f"print(json.dumps([name for name in {UNWANTED} if name in sys.modules]))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(answer.stdout) == []
