"""Methods whose networks or decoders teach each other, and mean teachers with another choice of positions."""
