"""Real CT as background: marks on openly licensed scans, and calcium inserted along them.

Only marks are kept in the repository (``marks/*.json``): outlines of the heart and centre lines of
the arteries, drawn by hand. The scans stay where ``CACSCORE_REAL_DATA`` says.
"""
