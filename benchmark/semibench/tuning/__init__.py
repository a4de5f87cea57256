"""Search loss weights and tunable options with Optuna, on validation cases only."""
