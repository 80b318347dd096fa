"""Jupyter and Tornado: the extension with its configuration, authentication, the socket, REST, and where tools act."""
