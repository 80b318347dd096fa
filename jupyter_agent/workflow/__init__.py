"""Workflows on the server: what their calls were answered, and carrying out those that were not."""
