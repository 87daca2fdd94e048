"""What a study is called."""

from __future__ import annotations

import hashlib
import re

from service.application.jobs import STUDY_ID_PATTERN
from service.application.submit_study import study_id_of


def test_study_id_is_half_of_the_digest_in_base32() -> None:
    digest = hashlib.sha256(b"").hexdigest()
    # base32 of e3b0c442 98fc1c14 9afbf4c8 996fb924, without padding, in lower case
    assert study_id_of(digest) == "4oymiquy7qobjgx36tejs35zeq"
    assert re.fullmatch(STUDY_ID_PATTERN, study_id_of(digest))


def test_other_bytes_are_another_study() -> None:
    ids = {study_id_of(hashlib.sha256(bytes([n])).hexdigest()) for n in range(200)}
    assert len(ids) == 200
