"""Methods that train on predicted labels: of themselves, of a teacher or of a second network."""
