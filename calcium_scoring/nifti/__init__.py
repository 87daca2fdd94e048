"""Masks as NIfTI or NumPy files: the border where LPS becomes RAS."""

from calcium_scoring.nifti.label_maps import (
    read_mask,
    read_numpy_mask,
    write_lesion_nifti,
    write_nifti,
)

__all__ = ["read_mask", "read_numpy_mask", "write_lesion_nifti", "write_nifti"]
