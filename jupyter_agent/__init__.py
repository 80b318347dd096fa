"""Agent runs as first-class notebook objects: live in the cell, durable on the server, a DataFrame to study."""
