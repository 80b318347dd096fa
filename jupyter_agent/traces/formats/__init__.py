"""The formats that are read: each a module with `matches` (is a record of it) and `read` (a source into a book)."""
