"""Evidence for a number: predictions scored again, bundles that others can check, predictions made elsewhere, repeated runs."""
