"""First-party methods, in folders by what they do with unlabeled samples."""
