"""Training: the loop and its parts. `semibench.training.loop.train` is the way in."""
