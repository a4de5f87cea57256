"""First-party splits."""
