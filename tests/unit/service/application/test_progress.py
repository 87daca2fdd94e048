"""Progress over all stages."""

from __future__ import annotations

import pytest

from service.application.jobs import Stage
from service.application.progress import overall_progress


def test_progress_grows_from_nothing_to_all() -> None:
    stages = [Stage.READING, Stage.SEGMENTING, Stage.MEASURING, Stage.WRITING]
    values = [overall_progress(stage, fraction) for stage in stages for fraction in (0.0, 0.5, 1.0)]
    assert values == sorted(values)
    assert values[0] == 0.0
    assert values[-1] == pytest.approx(1.0)
    assert overall_progress(Stage.WAITING, 0.0) == 0.0
    assert overall_progress(Stage.FINISHED, 0.0) == 1.0
