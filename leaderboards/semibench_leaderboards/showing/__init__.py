"""Shows boards: tables, diagrams and pictures of cases."""
