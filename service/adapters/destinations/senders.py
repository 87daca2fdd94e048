"""The sender of each destination."""

from __future__ import annotations

from service.adapters.destinations.places import (
    CStoreDestination,
    Destinations,
    StowDestination,
)
from service.adapters.destinations.stow_rs import StowSender
from service.application.errors import DestinationsUnusable
from service.application.pushes import PushSender


def senders_of(destinations: Destinations) -> dict[str, PushSender]:
    """Return what sends to each destination, by its name.

    Raises DestinationsUnusable where a destination needs a library that is not installed.
    """
    return {one.name: _sender_of(one, destinations) for one in destinations.destinations}


def _sender_of(one: CStoreDestination | StowDestination, destinations: Destinations) -> PushSender:
    if not isinstance(one, CStoreDestination):
        return StowSender(one, destinations.networks)
    try:
        # A gateway and an installation without DICOM nodes have no such library.
        from service.adapters.destinations.c_store import CStoreSender  # noqa: PLC0415
    except ImportError as error:
        raise DestinationsUnusable(
            one.name, "C-STORE needs the extra dicom-network: pip install 'cacscore[dicom-network]'"
        ) from error
    return CStoreSender(one, destinations.networks)
