"""SemSim: semantic similarity in weak-to-strong consistency (arXiv 2410.13486, 2024)."""
