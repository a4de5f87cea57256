"""First-party plugins of Semibench, registered exactly as a third party's."""
