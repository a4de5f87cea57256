"""Turns runs into rows, intervals, tests and groups."""
