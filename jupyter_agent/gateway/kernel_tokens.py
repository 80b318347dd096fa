"""Tokens for kernels: minted as a kernel starts, in its environment, worth less than the server's own.

A token holds as long as its kernel is among the server's kernels: it outlives a restart of the kernel, and neither its
shutdown nor the server's. Only its digest is kept.
"""

import hashlib
import os
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from jupyter_server.auth import User
from jupyter_server.base.call_context import CallContext

from ..records import Principal

URL_VARIABLE: Final = "JUPYTER_AGENT_URL"
TOKEN_VARIABLE: Final = "JUPYTER_AGENT_TOKEN"  # noqa: S105 - the name of a variable
APPROVALS_VARIABLE: Final = "JUPYTER_AGENT_APPROVALS"
"""Says 1 where the token may approve, so that the kernel's views offer it; it grants nothing."""
PREFIX: Final = "jupyter-agent-kernel-"


@dataclass
class Grant:
    """What a kernel's token stands for. `kernel_id` is None while the kernel is being started."""

    principal: Principal
    user: User | None
    kernel_id: str | None = None


@dataclass
class KernelTokens:
    """The grants of this server's kernels by the digest of their token."""

    kernel_manager: Any
    owner_of: Callable[[User | None], Principal]
    may_approve: bool
    base_url: Callable[[], str]
    _grants: dict[bytes, Grant] = field(default_factory=dict)

    def install(self) -> None:
        """Has every kernel that the server starts from now on find the gateway and a token in its environment."""
        start = self.kernel_manager.start_kernel

        async def start_with_token(*args: Any, **kwargs: Any) -> Any:
            return await self._start(start, args, kwargs)

        self.kernel_manager.start_kernel = start_with_token

    async def _start(self, start: Callable[..., Awaitable[Any]], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if kwargs.get("kernel_id") is not None and kwargs["kernel_id"] in self.kernel_manager:
            return await start(*args, **kwargs)
        handler = CallContext.get(CallContext.JUPYTER_HANDLER)
        user = getattr(handler, "current_user", None)
        token = f"{PREFIX}{secrets.token_urlsafe(32)}"
        grant = Grant(principal=self.owner_of(user), user=user)
        self._grants[_digest(token)] = grant
        given = kwargs.get("env")
        # A copy of ours, since a caller's dictionary may be used for other kernels.
        kwargs["env"] = {
            **(os.environ if given is None else given),
            URL_VARIABLE: self.base_url(),
            TOKEN_VARIABLE: token,
            APPROVALS_VARIABLE: "1" if self.may_approve else "0",
        }
        try:
            grant.kernel_id = await start(*args, **kwargs)
        except BaseException:
            del self._grants[_digest(token)]
            raise
        self._forget_the_dead()
        return grant.kernel_id

    def find(self, token: str | None) -> Grant | None:
        """Returns the grant of a token whose kernel is there, else None."""
        if not token or not token.startswith(PREFIX):
            return None
        grant = self._grants.get(_digest(token))
        return grant if grant is not None and self._is_alive(grant) else None

    def principal(self, grant: Grant) -> Principal:
        """Returns on whose behalf the kernel acts, and that it may not approve."""
        return Principal(
            user_id=grant.principal.user_id,
            actor=f"kernel {(grant.kernel_id or '')[:8]}".strip(),
            may_approve=self.may_approve,
            kernel_id=grant.kernel_id,
        )

    def _is_alive(self, grant: Grant) -> bool:
        return grant.kernel_id is None or grant.kernel_id in self.kernel_manager

    def _forget_the_dead(self) -> None:
        self._grants = {digest: grant for digest, grant in self._grants.items() if self._is_alive(grant)}


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
