"""Many runs: cells are planned against what is done already, and run by an engine here or on a cluster."""
