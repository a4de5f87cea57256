"""Methods published together with their own network or input pipeline."""
