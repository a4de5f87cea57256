"""Commands of the leaderboards; each module has `app`, a typer application with one command."""
