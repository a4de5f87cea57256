"""Leaderboards of Semibench."""
