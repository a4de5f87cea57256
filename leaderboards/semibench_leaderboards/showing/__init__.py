"""Tables, diagrams and pictures of boards."""
