"""Commands of the leaderboards. Each module has a typer application `app`."""
