"""What ran the network: a fact of the report beside the network itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EngineIdentity:
    """The runtime of a loaded network and what it really runs on, not what was asked for.

    ``providers`` are the execution providers of the session, the one that runs the network first;
    the last digits of probabilities differ between them.
    """

    runtime: str
    version: str
    providers: tuple[str, ...]
