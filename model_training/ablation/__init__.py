"""The paper's ablation again: its five networks on the same data and budget, on our scans."""
