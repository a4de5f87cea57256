"""Aggregates runs into the rows of boards, and compares and ranks the rows."""
