"""Published splits: id lists and tables as package data, and the code that turns them into splits."""
