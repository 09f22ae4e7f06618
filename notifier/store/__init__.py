"""Redis: the state and its one commit, lanes and claims, names, the server. Nobody else imports redis."""
