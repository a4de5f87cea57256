"""Evaluation: from a network and cases to numbers, without a trace in the network.

`inference` predicts (whole image, slices, sliding window) and puts a prediction back on the native grid; `scoring` makes the
table of per-case results; `summary` reads and averages it. The metrics are pure functions of masks, in `semibench.blocks`.
"""
