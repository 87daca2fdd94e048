"""Where no broker is set."""

from __future__ import annotations

from service.application.errors import QueueUnavailable
from service.application.jobs import Priority


class NoJobQueue:
    """Stands where no broker is set: uploads are kept until there is one."""

    def announce(
        self,
        job_id: str,  # noqa: ARG002 - nobody to tell
        priority: Priority = Priority.ROUTINE,  # noqa: ARG002
    ) -> None:
        """Say that nobody can be told."""
        raise QueueUnavailable("No broker is set; see CACSCORE_BROKER_URL.")

    def depth(self) -> int:
        """Say that there is no queue."""
        raise QueueUnavailable("No broker is set; see CACSCORE_BROKER_URL.")
