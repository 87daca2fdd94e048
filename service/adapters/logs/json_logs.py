"""One JSON object a line on standard error, without anything that identifies a patient.

Libraries quote values of the upload in messages of exceptions and warnings; so of an exception
only its class and the places in the code are logged, and pydicom and highdicom do not log at all.
"""

from __future__ import annotations

import logging
import sys
import traceback
from pathlib import Path
from typing import Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_QUOTING_LIBRARIES: Final = ("pydicom", "highdicom")
_SHOWN_FRAMES: Final = 12


def configure_logging(level: str = "INFO") -> None:
    """Send structlog and the standard library's logging through the same processors."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        name_exception,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _QUOTING_LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    # The gateway writes a line of its own for each request.
    logging.getLogger("uvicorn.access").setLevel(logging.CRITICAL + 1)


def name_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace ``exc_info`` by the class of the exception and the places it came through."""
    exc_info = event.pop("exc_info", None)
    if not exc_info:
        return event
    if isinstance(exc_info, BaseException):
        error: BaseException | None = exc_info
    else:
        error = exc_info[1] if isinstance(exc_info, tuple) else sys.exception()
    if error is not None:
        frames = traceback.extract_tb(error.__traceback__)[-_SHOWN_FRAMES:]
        event["exception"] = type(error).__name__
        event["traceback"] = [
            f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames
        ]
    return event
