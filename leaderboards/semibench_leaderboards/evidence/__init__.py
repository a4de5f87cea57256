"""What a number rests on: stored predictions scored again, bundles that others can check, predictions made elsewhere, reruns."""
