"""Who speaks: Jupyter's identity provider and authorizer, our kernels' tokens, and the principal they make.

Rules: an empty token never matches; tokens are compared as digests in constant time; foreign identity providers are
asked, not imitated; what a client says of its own rights is never read.
"""

import hashlib
import hmac
import os
import re
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

from jupyter_core.utils import ensure_async
from jupyter_server.auth import Authorizer, IdentityProvider, User
from jupyter_server.auth.identity import PasswordIdentityProvider
from jupyter_server.base.handlers import JupyterHandler
from tornado import httputil
from tornado.web import Application, HTTPError

from ..exceptions import Forbidden
from ..records import OWNER, Principal
from .kernel_tokens import Grant, KernelTokens
from .origins import Allowed, Credential, Origin, Verdict, classify, judge

MAX_TOKEN_CHARS: Final = 2048
Action = Literal["read", "write", "execute"]
AllowCookies = Literal["auto", "always", "never"]

_BEARER: Final = re.compile(r"(?:token|bearer)\s+(.+)", re.IGNORECASE)


def ct_equal(given: object, expected: object) -> bool:
    """Tells in constant time whether two tokens are the same. Nothing equals an empty one."""
    if not isinstance(given, str) or not isinstance(expected, str) or not given or not expected:
        return False
    if len(given) > MAX_TOKEN_CHARS:
        return False
    return hmac.compare_digest(_digest(given), _digest(expected))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def is_stock(provider: IdentityProvider) -> bool:
    """Tells whether this is Jupyter's own provider, with one user behind one token or password."""
    own = (IdentityProvider, PasswordIdentityProvider)
    return type(provider) in own or all(
        getattr(type(provider), name) is getattr(IdentityProvider, name)
        for name in ("get_user", "get_user_token", "get_user_cookie", "get_token")
    )


@dataclass(frozen=True)
class Identity:
    """Somebody who was recognised, and the headers by which they can be recognised again."""

    principal: Principal
    user: User
    headers: dict[str, str] = field(repr=False)


class KernelIdentity(IdentityProvider):
    """The identity provider of one request that carries a kernel's token."""

    grant: Grant

    def get_user(self, handler: Any) -> User | None:
        """Returns the user who started the kernel."""
        handler._token_authenticated = True
        return self.grant.user

    @property
    def login_available(self) -> bool:
        """Nobody logs in with a kernel's token."""
        return False


@dataclass
class Auth:
    """Recognises people and kernels. `allow_cookies` is the setting `allow_cookie_ws`."""

    application: Application
    tokens: KernelTokens
    allow_cookies: AllowCookies = "auto"
    inband_origins: tuple[str, ...] = ()
    kernels_may_approve: bool = False

    @property
    def provider(self) -> IdentityProvider:
        return cast(IdentityProvider, self.application.settings["identity_provider"])

    @property
    def authorizer(self) -> Authorizer:
        return cast(Authorizer, self.application.settings["authorizer"])

    @property
    def is_disabled(self) -> bool:
        """The server asks nobody who they are: whoever reaches it may do everything."""
        return not self.provider.auth_enabled

    @property
    def cookies_count(self) -> bool:
        """On a Hub without a domain per user, pages of other users share our origin: there a cookie proves nothing."""
        if self.allow_cookies == "auto":
            return not os.environ.get("JUPYTERHUB_API_TOKEN") or bool(os.environ.get("JUPYTERHUB_HOST"))
        return self.allow_cookies == "always"

    # --- who it is ------------------------------------------------------------------------------------------

    def owner_of(self, user: User | None) -> Principal:
        """Returns the principal that a user is: the one owner of a plain server, whatever name its login shows."""
        if user is None or is_stock(self.provider):
            hub_user = os.environ.get("JUPYTERHUB_USER", "") if not is_stock(self.provider) else ""
            return Principal(user_id=hub_user or OWNER, actor=user.display_name or user.username if user else "")
        return Principal(user_id=user.username, actor=user.display_name or user.username)

    def identify(self, handler: JupyterHandler) -> Identity | None:
        """Returns who made a request that Jupyter has authenticated, None for a stranger."""
        user = cast(User | None, handler.current_user)
        if not user:
            return None
        token = explicit_token(handler.request) if handler.token_authenticated else None
        grant = self.tokens.find(token)
        principal = self.tokens.principal(grant) if grant is not None else self._principal(user, token)
        return Identity(principal=principal, user=user, headers=_identifying(handler.request, token))

    async def verify(self, token: object, request: httputil.HTTPServerRequest) -> Identity | None:
        """Returns whom a token that came in an auth frame belongs to, None where it holds no more than air."""
        if not isinstance(token, str) or not token or len(token) > MAX_TOKEN_CHARS or not token.isprintable():
            return None
        headers = {"Host": request.headers.get("Host", ""), "Authorization": f"token {token}"}
        return await self._recognise(headers, token)

    async def verify_again(self, identity: Identity) -> Identity | None:
        """Returns the identity anew, None when its credential has been revoked or has run out."""
        found = _BEARER.fullmatch(identity.headers.get("Authorization", ""))
        return await self._recognise(identity.headers, found.group(1) if found else None)

    async def _recognise(self, headers: dict[str, str], token: str | None) -> Identity | None:
        grant = self.tokens.find(token)
        if grant is not None:
            user = await self.kernel_user(grant)
            return Identity(principal=self.tokens.principal(grant), user=user, headers=headers)
        provider = self.provider
        if token is not None and is_stock(provider):
            if not ct_equal(token, provider.token):
                return None
            return Identity(principal=self.owner_of(None), user=User(username=OWNER), headers=headers)
        shim = self._shim(headers)
        found = await ensure_async(provider.get_user(shim))
        if not found or (token is not None and not getattr(shim, "_token_authenticated", False)):
            return None
        return Identity(principal=self._principal(found, token), user=found, headers=headers)

    def _principal(self, user: User, token: str | None) -> Principal:
        """The server's own Hub token is in the environment of every kernel: it is worth as much as a kernel's."""
        owner = self.owner_of(user)
        if not self.kernels_may_approve and ct_equal(token, os.environ.get("JUPYTERHUB_API_TOKEN")):
            return Principal(user_id=owner.user_id, actor=f"{owner.name} (server)", may_approve=False)
        return owner

    async def kernel_user(self, grant: Grant) -> User:
        """Returns the user that the authorizer is asked about for a kernel: the one who started it."""
        if grant.user is None:
            own = os.environ.get("JUPYTERHUB_API_TOKEN")
            if own and not is_stock(self.provider):
                grant.user = await ensure_async(self.provider.get_user(self._shim({"Authorization": f"token {own}"})))
            grant.user = grant.user or User(username=grant.principal.user_id)
        return grant.user

    def _shim(self, headers: dict[str, str]) -> JupyterHandler:
        """A handler of no request, which carries nothing but these headers to the identity provider."""
        request = httputil.HTTPServerRequest(
            method="GET",
            uri=self.application.settings["base_url"],
            headers=httputil.HTTPHeaders(headers),
            host=headers.get("Host") or "localhost",
            connection=cast(httputil.HTTPConnection, _NoConnection()),
        )
        return JupyterHandler(self.application, request)

    # --- what they may --------------------------------------------------------------------------------------

    def judge_handshake(self, handler: JupyterHandler) -> tuple[Origin, Verdict]:
        """Returns where a socket's handshake comes from and what becomes of it."""
        allowed = Allowed(handler.allow_origin, handler.allow_origin_pat or "", self.inband_origins)
        origin = classify(handler.request.headers, protocol=handler.request.protocol, allowed=allowed)
        credential = Credential.NONE
        if handler.current_user:
            credential = Credential.EXPLICIT if handler.token_authenticated else Credential.AMBIENT
        return origin, judge(origin, credential, cookies_count=self.cookies_count)

    async def check(self, handler: JupyterHandler, user: User, action: Action, noun: str) -> None:
        """Asks the server's authorizer. Raises Forbidden."""
        allowed = self.authorizer.is_authorized(handler, user, action, f"jupyter_agent:{noun}")
        if not await ensure_async(allowed):
            raise Forbidden(f"This server's authorizer does not let you {action} {noun}.")


class _NoConnection:
    """What a handler of no request believes to be connected to."""

    context = None

    def set_close_callback(self, callback: Any) -> None:
        """Nothing will be closed."""


def explicit_token(request: httputil.HTTPServerRequest) -> str | None:
    """Returns the token that a request carries in its address or header."""
    if in_query := request.query_arguments.get("token"):
        return in_query[-1].decode("utf-8", "replace")
    found = _BEARER.fullmatch(request.headers.get("Authorization", ""))
    return found.group(1) if found else None


def _identifying(request: httputil.HTTPServerRequest, token: str | None) -> dict[str, str]:
    """The headers by which this request's sender can be recognised again later."""
    headers = {name: request.headers[name] for name in ("Host", "Cookie") if name in request.headers}
    if token:
        headers = {"Host": headers.get("Host", ""), "Authorization": f"token {token}"}
    return headers


class KernelAware(JupyterHandler):
    """A handler that also knows the tokens of kernels, which Jupyter's identity provider does not."""

    auth: Auth
    _kernel_identity: KernelIdentity | None = None

    def find_kernel(self) -> None:
        """Looks for a kernel's token; before Jupyter authenticates the request."""
        if (grant := self.auth.tokens.find(explicit_token(self.request))) is not None:
            self._kernel_identity = KernelIdentity(parent=self.auth.provider)
            self._kernel_identity.grant = grant

    async def prepare_kernel(self) -> None:
        """Does `find_kernel`, and finds out which user the kernel belongs to."""
        self.find_kernel()
        if self._kernel_identity is not None:
            await self.auth.kernel_user(self._kernel_identity.grant)

    @property
    def identity_provider(self) -> IdentityProvider:
        """The server's identity provider, or ours for a request with a kernel's token."""
        return self._kernel_identity or super().identity_provider

    @property
    def identity(self) -> Identity:
        """Who made this request."""
        if (identity := self.auth.identify(self)) is None:
            raise HTTPError(403)
        return identity
