"""What an agent can do: typed Python functions, and the environment they act in."""
