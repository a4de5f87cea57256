"""Turns a request into a run: names to a spec, a spec to data and method, and those to a scored run folder."""
