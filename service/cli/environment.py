"""Settings of the commands, with words for those that cannot be."""

from __future__ import annotations

from pydantic import ValidationError

from service.cli.outcome import UsageMistake
from service.settings import ENVIRONMENT_PREFIX, Settings


def settings_from_environment() -> Settings:
    """Read the settings; UsageMistake names each variable that has an impossible value."""
    try:
        return Settings()
    except ValidationError as error:
        # The values are left out: a URL may hold a password.
        complaints = [
            f"{''.join(f'{ENVIRONMENT_PREFIX}{str(name).upper()}: ' for name in one['loc'][:1])}"
            f"{one['msg'].removeprefix('Value error, ').rstrip('.')}."
            for one in error.errors(include_url=False, include_input=False)
        ]
        raise UsageMistake(
            "A setting in the environment is not possible. " + " ".join(complaints)
        ) from error
