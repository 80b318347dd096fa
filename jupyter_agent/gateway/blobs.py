"""REST of blobs: attachments go in, and what one's runs refer to comes out. A digest is no capability."""

import hashlib

from msgspec import Struct
from tornado import web

from ..exceptions import BlobNotFound, InvalidRequest
from .rest import AgentHandler, authorized, operation
from .rooms import Rooms
from .sniffing import BYTES, is_digest, sniff


class Kept(Struct, frozen=True, kw_only=True):
    """Where an attachment is: its key, what its bytes look like, and how many there are."""

    blob: str
    mime: str
    size: int


class BlobHandler(AgentHandler):
    """Base of both: an attachment may be larger than other bodies."""

    async def prepare(self) -> None:  # type: ignore[override]
        self.max_body_bytes = self.gateway.max_attachment_mb * 1024 * 1024
        await super().prepare()

    async def keep(self, digest: str | None) -> None:
        """Keeps the body as the sender's attachment. Raises InvalidRequest when it is not what its address says."""
        data = self.body
        if not data:
            raise InvalidRequest("The attachment is empty.", details={"fields": {"": "is empty"}})
        if digest is not None and hashlib.sha256(data).hexdigest() != digest:
            raise InvalidRequest(
                f"The body does not hash to {digest}: send exactly the bytes whose SHA-256 the address names.",
                details={"fields": {"sha256": "is not the body's"}},
            )
        storage = (await self.rooms()).storage
        key = await storage.blobs.put(data)
        await storage.rows.refer(key, run_id=None, user_id=self.principal.user_id)
        self.reply(Kept(blob=key, mime=sniff(data), size=len(data)), 201)


class Blobs(BlobHandler):
    @web.authenticated
    @authorized(action="write", resource="jupyter_agent:blobs")
    @operation("Keep an attachment", body=bytes, answer=Kept, status=201, faults=(413, 507))
    async def post(self) -> None:
        await self.keep(None)


class OneBlob(BlobHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:blobs")
    @operation("The bytes of a blob that one's runs or attachments refer to", answer=bytes, media=BYTES, faults=(404,))
    async def get(self, digest: str) -> None:
        rooms = await self.rooms()
        if not is_digest(digest) or not await self._is_ones_own(rooms, digest):
            raise BlobNotFound(f"There is no blob {digest[:64]!r}.")
        data = await rooms.storage.blobs.get(digest)
        mime = sniff(data)
        self.set_header("Content-Security-Policy", "sandbox; default-src 'none'")
        self.set_header("Cache-Control", "private, max-age=31536000, immutable")
        if mime == BYTES:
            self.set_header("Content-Disposition", f'attachment; filename="{digest[:16]}"')
        self.finish(data, set_content_type=mime)

    @web.authenticated
    @authorized(action="write", resource="jupyter_agent:blobs")
    @operation("Keep an attachment under its SHA-256", body=bytes, answer=Kept, status=201, faults=(404, 413, 507))
    async def put(self, digest: str) -> None:
        if not is_digest(digest):
            raise BlobNotFound(f"{digest[:64]!r} is no SHA-256: 64 lower-case hex digits.")
        await self.keep(digest)

    async def _is_ones_own(self, rooms: Rooms, digest: str) -> bool:
        """Followers hear of a blob a little before the rows say whose it is."""
        rows = rooms.storage.rows
        if await rows.blob_is_referred_to(digest, by=self.principal):
            return True
        await rooms.projection.settle_all()
        return await rows.blob_is_referred_to(digest, by=self.principal)
