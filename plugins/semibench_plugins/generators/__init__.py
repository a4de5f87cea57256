"""First-party generators."""
