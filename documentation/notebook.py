"""The tutorial with pictures as a notebook: Markdown and code cells of its page in turn."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[1]
PAGE: Final = REPOSITORY / "docs" / "tutorials" / "volume-mask-and-agreement.md"
TARGET: Final = PAGE.with_suffix(".ipynb")

_CODE: Final = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def notebook_text() -> str:
    """Return the notebook (nbformat 4.5), without outputs; the same page gives the same bytes."""
    parts = _CODE.split(PAGE.read_text(encoding="utf-8"))
    cells = []
    for number, part in enumerate(parts):
        lines = part.strip("\n").splitlines(keepends=True)
        if not lines:
            continue
        is_code = number % 2 == 1
        cell: dict[str, object] = {
            "cell_type": "code" if is_code else "markdown",
            "id": f"cell-{number}",
            "metadata": {},
            "source": lines,
        }
        cells.append({**cell, "execution_count": None, "outputs": []} if is_code else cell)
    document = {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"
