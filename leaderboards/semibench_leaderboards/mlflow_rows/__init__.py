"""Leaderboards inside MLflow: in the experiment of a track, a parent run for each row, with its runs nested under it."""
