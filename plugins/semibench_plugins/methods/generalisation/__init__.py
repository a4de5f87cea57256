"""Methods that generalise to domains they were not trained on, some of them among other tasks."""
