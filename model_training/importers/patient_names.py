"""Names of patients in the order in which people count."""

from __future__ import annotations

import re


def natural_order(name: str) -> list[tuple[bool, int, str]]:
    """Return a key that sorts ``9`` before ``10`` and numbers before words."""
    return [
        (not part.isdecimal(), int(part) if part.isdecimal() else 0, part)
        for part in re.split(r"(\d+)", name)
        if part
    ]
