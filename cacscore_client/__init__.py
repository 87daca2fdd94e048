"""Client of the calcium scoring service: send a CT series, wait, fetch score, masks and reports.

```python
from cacscore_client import CacscoreClient

with CacscoreClient("http://127.0.0.1:8000") as client:
    study = client.submit("series.zip")
    report = client.wait_for_score(study["id"])
    print(report["agatston_score"], report["cac_drs_category"])
```

:class:`AsyncCacscoreClient` has the same methods to be awaited. Research use only.
"""

from cacscore_client.async_client import AsyncCacscoreClient
from cacscore_client.client import CacscoreClient
from cacscore_client.errors import (
    Busy,
    ClientError,
    Conflict,
    DigestMismatch,
    InvalidUrl,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    NothingToSend,
    Refused,
    ScoreNotReady,
    ServiceFailed,
    ServiceProblem,
    StudyGivenUp,
    UnexpectedAnswer,
    Unreachable,
    WaitTimedOut,
)

__all__ = [
    "AsyncCacscoreClient",
    "Busy",
    "CacscoreClient",
    "ClientError",
    "Conflict",
    "DigestMismatch",
    "InvalidUrl",
    "NotAllowed",
    "NotAuthenticated",
    "NotFound",
    "NothingToSend",
    "Refused",
    "ScoreNotReady",
    "ServiceFailed",
    "ServiceProblem",
    "StudyGivenUp",
    "UnexpectedAnswer",
    "Unreachable",
    "WaitTimedOut",
]
