"""How a run reads where there is no view of ours: words, HTML and plain text, and the bundle that a notebook keeps.

Pure functions of plain data, for the kernel that fills a cell and for the server that fills it when the kernel is gone.
"""

from .mime import MIME_TYPE, bundle

__all__ = ["MIME_TYPE", "bundle"]
