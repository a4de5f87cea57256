"""Headings under which the help of the commands lists their options."""

WHICH, SCORE, OUTPUT = "Which runs", "Which score", "Output"
