"""Rows as Parquet, where pyarrow is installed (``pip install 'cacscore[parquet]'``)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import IO, Final

from service.application.csv_row import Row, kind_of

ROWS_AT_ONCE: Final = 1000
"""Rows of one row group."""

SPOOLED_BYTES: Final = 8 * 1024 * 1024
"""Larger files are written to disk."""


def write_parquet(rows: Iterable[Row], columns: Sequence[str]) -> IO[bytes]:
    """Return an open file with these rows, at its beginning.

    Raises
    ------
    ModuleNotFoundError
        pyarrow is not installed.
    """
    import pyarrow as pa  # noqa: PLC0415 - optional, and forty megabytes
    from pyarrow import parquet  # noqa: PLC0415

    types = {
        str: pa.string(),
        int: pa.int64(),
        bool: pa.bool_(),
        float: pa.float64(),
    }
    schema = pa.schema([(name, types[kind_of(name)]) for name in columns])
    file = tempfile.SpooledTemporaryFile(max_size=SPOOLED_BYTES)  # noqa: SIM115 - the caller closes it
    with parquet.ParquetWriter(file, schema) as writer:
        remaining = iter(rows)
        while batch := list(islice(remaining, ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
    file.seek(0)
    return file
