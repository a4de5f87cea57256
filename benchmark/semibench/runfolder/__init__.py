"""The run folder: the typed, versioned record of one run, its reader and its writer."""
