"""Methods whose parts were published together with a network or an input pipeline of their own."""
