"""Methods that train on labels predicted by the network itself, a teacher or a second network."""
