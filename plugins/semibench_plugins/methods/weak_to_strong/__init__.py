"""Methods in which a prediction on a weak view is the label for strong views of the same image."""
