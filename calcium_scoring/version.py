"""The version of the code; a model has its own (see ModelSpec)."""

from typing import Final

__version__: Final = "0.1.0"
