"""`python -m semibench.cli`: the same as `bench`."""

from semibench.cli.app import main

main()
