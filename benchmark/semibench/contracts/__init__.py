"""The contracts: what a plugin is. Import the names from `semibench`."""
