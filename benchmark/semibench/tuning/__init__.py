"""Loss weights and tunable options searched with Optuna, on validation cases only."""
