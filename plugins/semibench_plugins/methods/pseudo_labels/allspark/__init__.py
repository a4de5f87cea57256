"""AllSpark: the labeled features of a network are rebuilt from unlabeled ones."""
