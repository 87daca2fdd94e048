"""Write the OpenAPI document: `python -m service.api.export_openapi [--check] [FILE]`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Final

from service.api.app import create_app

OPENAPI_FILE: Final = Path(__file__).parents[2] / "openapi" / "openapi.json"


def openapi_text() -> str:
    """Return the document as it is committed."""
    return json.dumps(create_app().openapi(), indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the file, or with ``--check`` say whether it is up to date."""
    parser = argparse.ArgumentParser(description="Write openapi/openapi.json.")
    parser.add_argument("--check", action="store_true", help="write nothing; 1 where it differs")
    parser.add_argument("file", nargs="?", type=Path, default=OPENAPI_FILE)
    arguments = parser.parse_args()
    file: Path = arguments.file
    if not arguments.check:
        file.parent.mkdir(exist_ok=True)
        file.write_text(openapi_text(), encoding="utf-8")
        return 0
    if file.is_file() and file.read_text(encoding="utf-8") == openapi_text():
        return 0
    sys.stderr.write(f"{file} is not what the code says; run `make openapi`.\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
