"""The wire without I/O: what clients may say, what the gateway says beside events, and a connection's life as a
table."""
