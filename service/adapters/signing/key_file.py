"""Name of the signing key, for whoever says where it is and signs nothing."""

from __future__ import annotations

from typing import Final

KEY_FILE: Final = "signing-key.pem"
"""Name of the key below its folder."""
