"""Evaluation: score a network on cases, without changing the network.

`inference` predicts (whole image, slices, sliding window) and returns a prediction to the native grid; `scoring` builds the
table of per-case results; `summary` reads and averages it. The metrics are pure functions of masks, in `semibench.blocks`.
"""
