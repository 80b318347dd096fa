"""Facts of runs as rows: which kinds there are, what their columns say, and how they are chosen.

Both towers tell the same rows from here: the server streams them, frames make DataFrames of them, with a server or
from a data folder alone. Nothing here opens a file or a connection; pyarrow is loaded when rows are made.
"""
