"""The parts of a running gateway."""

from __future__ import annotations

from tests.integration.conftest import settings, study_zip, threshold_model

__all__ = ["settings", "study_zip", "threshold_model"]
