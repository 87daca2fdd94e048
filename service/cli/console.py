"""Where the words go: the result on stdout, everything said on the way to it on stderr.

Nothing but the result is ever written to stdout, so ``cacscore score scan.zip --json | jq`` works
whatever is said on the way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

stdout: Final = Console(highlight=False, emoji=False)
stderr: Final = Console(stderr=True, highlight=False, emoji=False)


def print_json(document: Mapping[str, object]) -> None:
    """Write one JSON document to stdout, unwrapped and without colours."""
    stdout.out(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def say(message: str) -> None:
    """Write a sentence to stderr; square brackets are text, not markup."""
    stderr.print(message, markup=False, soft_wrap=True)


@contextmanager
def progress_bars(*further_columns: ProgressColumn) -> Iterator[Progress]:
    """Show progress on stderr while the block runs; nothing where stderr is not a terminal.

    A bar vanishes when it is done, so that what stays on the screen is the result.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        *further_columns,
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=stderr, transient=True, disable=not stderr.is_terminal
    ) as progress:
        yield progress
