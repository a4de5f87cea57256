"""DTLP-Net, diverse teaching and label propagation (arXiv 2508.08549)."""
