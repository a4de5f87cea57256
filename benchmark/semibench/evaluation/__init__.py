"""Evaluation: from a network and cases to numbers, without a trace in the network.

`inference` predicts (whole image, slices, sliding window) and puts a prediction back on the native grid; `distances` and
`metrics` are pure functions of masks; `scoring` makes the table of per-case results; `summary` reads and averages it.
"""
