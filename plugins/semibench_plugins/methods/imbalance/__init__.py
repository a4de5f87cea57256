"""Methods for classes of very different frequency: weights, sampling and thresholds by class."""
