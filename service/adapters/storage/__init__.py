"""Where the bytes of studies and artefacts are kept."""
