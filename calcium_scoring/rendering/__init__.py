"""Pictures for people: a slice in a window with its calcium marked."""

from calcium_scoring.rendering.overlay import (
    key_slice_index,
    render_key_slice,
    render_overlay_png,
)

__all__ = ["key_slice_index", "render_key_slice", "render_overlay_png"]
