"""Redis: the state and its one commit, lanes and claims, names, the server itself. Only this package imports redis."""
