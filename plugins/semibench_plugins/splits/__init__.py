"""Ids of the published splits, for scripts that lay out or check a folder of a data set."""
