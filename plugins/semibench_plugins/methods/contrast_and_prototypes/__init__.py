"""Methods that compare features with stored features or with prototypes of the classes."""
