"""Where results are pushed to: by C-STORE or by STOW-RS."""
