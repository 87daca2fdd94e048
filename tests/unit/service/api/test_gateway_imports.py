"""The gateway is small: it loads neither the runtime, nor what reads DICOM, measures or draws."""

from __future__ import annotations

import json
import subprocess
import sys

UNWANTED = [
    "onnxruntime",
    "torch",
    "pydicom",
    "gdcm",
    "highdicom",
    "nibabel",
    # Heavy, and for nothing that a gateway does at rest: each was once imported for one name.
    "scipy",
    "PIL",
    "boto3",
    "botocore",
    "reportlab",
    "pyarrow",
]


def test_gateway_starts_without_libraries_that_read_measure_draw_or_speak_to_s3() -> None:
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
