"""Run many cells: compare them with finished runs, and run the rest by an engine, here or on a cluster."""
