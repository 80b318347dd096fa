"""What a call is given beside its prompt, known by its content."""

from typing import Literal

from msgspec import Struct

AttachmentKind = Literal["frame", "array", "image", "file", "text"]


class Attachment(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """One attachment as plain data.

    `digest` stands for the whole content: hex of a 256-bit hash. `text` is what the model is shown of it (of a table
    its columns, counts and first rows); a picture is shown itself, `blob` is its key at the server then.
    """

    name: str
    kind: AttachmentKind
    digest: str
    text: str = ""
    blob: str | None = None
    mime: str | None = None
