"""One transaction on the record, with its errors in our own words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError

from service.application.errors import RecordUnavailable


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Give a connection; IntegrityError passes, any other failure is RecordUnavailable."""
    try:
        with engine.begin() as connection:
            yield connection
    except IntegrityError:
        raise
    except DBAPIError as error:
        # The text of the driver's error may hold the values of the statement.
        raise RecordUnavailable(
            f"The database did not do what was asked ({type(error.orig).__name__})."
        ) from error
