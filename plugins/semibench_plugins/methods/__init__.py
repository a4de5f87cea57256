"""First-party methods, grouped in folders by how they use unlabeled samples."""
