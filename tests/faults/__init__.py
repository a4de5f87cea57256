"""The campaign of faults: `tox -e faults` kills runs, feeds malformed inputs, takes space and permission away, and prints a table.

It is no part of the tests: it takes the better part of an hour. docs/reliability.md shows what it printed."""
