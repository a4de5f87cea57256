"""Methods that generalise to domains they were not trained on, alone or beside other tasks."""
