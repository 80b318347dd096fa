"""What providers' errors are in our words: each with its code, what happened, and what a person can do about it.

The provider's own message is passed on without the key. Causes are not chained: what a library's exception carries
(headers, bodies, requests) would reach logs with every traceback.
"""

import re
from collections.abc import Mapping
from typing import Any

from pydantic_ai import exceptions as pa

from ..exceptions import (
    BadCredentials,
    ContextOverflow,
    InvalidModelAnswer,
    InvalidModelRequest,
    ModelError,
    ModelRateLimited,
    ModelRefused,
    ModelTimeout,
    ModelUnavailable,
    QuotaExhausted,
    StreamCut,
)

MESSAGE_MAX = 300
RETRY_AFTER_MAX_S = 24 * 3600.0
_KEYS = re.compile(r"\b(?:sk|pk|rk|xai|gsk|key)-[\w-]{8,}|\bAIza[\w-]{10,}|(?i:bearer)\s+[\w.~+/-]{8,}=*")


class FaultReader:
    """Translates the errors of one model. `key` is taken out of every message; `key_variable` is named in advice."""

    def __init__(self, name: str, *, key: str | None, key_variable: str | None, host: str) -> None:
        self._name = name
        self._key = key
        self._key_variable = key_variable
        self._host = host

    def read(self, fault: Exception, *, began: bool, redirected: bool = False) -> ModelError:
        """Returns our error for one raised while asking the provider. `began`: its answer had begun to come."""
        if redirected:
            return self._error(
                InvalidModelRequest, fault, f"is not at {self._host}: it answered with a redirect",
                "Redirects are not followed, for the key would go along: correct the base_url.",
            )  # fmt: skip
        match fault:
            case ModelError():
                return fault
            case pa.ContentFilterError():
                return self._error(ModelRefused, fault, "refused to answer", "Say it in other words.")
            case pa.ModelAPIError():
                return self._api_error(fault, began=began)
            case pa.UserError():
                return self._error(
                    InvalidModelRequest, fault, "cannot be asked this", "Change the request or choose another model."
                )
            case TimeoutError():
                return self._error(ModelTimeout, fault, "did not answer in time", "Try again.")
            case ConnectionError():
                return self._connection(fault, began=began)
        return self._error(
            InvalidModelAnswer,
            fault,
            "sent what is no answer",
            f"Try again; if it stays so, check that {self._host} is the address of such a provider.",
        )

    def refusal(self, reason: str | None) -> ModelRefused:
        """Returns the error for an answer that the provider's filter ended."""
        said = self._said(reason)
        return ModelRefused(
            f"{self._name} refused to go on: its content filter ended the answer.{said} Say it in other words, or "
            "choose another model."
        )

    def cut(self) -> StreamCut:
        """Returns the error for a stream that stopped without its closing word."""
        return StreamCut(f"The answer of {self._name} was cut off: its stream ended without a closing word. Try again.")

    def _api_error(self, fault: pa.ModelAPIError, *, began: bool) -> ModelError:
        match fault:
            case pa.ModelRequestTimeout() | pa.ModelTimeoutError():
                return self._error(ModelTimeout, fault, "did not answer in time", "Try again, or choose another model.")
            case pa.ModelConnectionError():
                return self._connection(fault, began=began)
            case pa.ModelQuotaExceededError():
                return self._error(
                    QuotaExhausted, fault, "says that the account's quota or credit is used up",
                    "Top it up at the provider or choose another model: waiting does not help.",
                )  # fmt: skip
            case pa.ModelRateLimitError():
                return self._error(
                    ModelRateLimited, fault, "says that too many requests came", "Wait a little and try again."
                )
            case pa.ModelContextWindowExceededError():
                return self._error(
                    ContextOverflow, fault, "cannot take in a prompt this long",
                    "Start a new thread, attach less, or choose a model with a larger context.",
                )  # fmt: skip
            case pa.ModelAuthenticationError():
                return self._error(BadCredentials, fault, "did not accept the key", self._key_advice())
            case pa.ModelNotFoundError():
                return self._error(
                    InvalidModelRequest, fault, f"is not known at {self._host}",
                    "Check the model's name, and the base_url if one is configured.",
                )  # fmt: skip
            case pa.ModelUnavailableError() | pa.ModelServerError():
                return self._error(ModelUnavailable, fault, "has a fault on its side", "Try again in a while.")
        return self._other(fault)

    def _other(self, fault: pa.ModelAPIError) -> ModelError:
        status = getattr(fault, "status_code", None)
        if _says_refusal(fault):
            return self._error(
                ModelRefused, fault, "refused the request", "Say it in other words or choose another model."
            )
        if isinstance(fault, pa.ModelRequestRejectedError) or (status is not None and 400 <= status < 500):
            return self._error(
                InvalidModelRequest, fault, "did not accept the request",
                "The model may not take pictures, tools or this setting: leave it out or choose another model.",
            )  # fmt: skip
        if status is not None and status >= 500:
            return self._error(ModelUnavailable, fault, "has a fault on its side", "Try again in a while.")
        return self._error(
            InvalidModelAnswer, fault, "sent what is no answer",
            f"Try again; if it stays so, check that {self._host} is the address of such a provider.",
        )  # fmt: skip

    def _connection(self, fault: Exception, *, began: bool) -> ModelError:
        if began:
            return self.cut()
        return self._error(
            ModelUnavailable, fault, f"could not be reached at {self._host}",
            "Check the network and the address, and try again.",
        )  # fmt: skip

    def _key_advice(self) -> str:
        if self._key_variable is None:
            return "No key is configured for it: name its environment variable as `api_key_env` of the provider."
        return (
            f"Check the environment variable {self._key_variable} of the Jupyter server, and whether the key may "
            "use this model."
        )

    def _error(self, kind: type[ModelError], fault: Exception, what: str, advice: str) -> ModelError:
        status = getattr(fault, "status_code", None)
        code = getattr(fault, "provider_error_code", None) or getattr(fault, "provider_error_type", None)
        details: dict[str, Any] = {"model": self._name}
        details |= {key: value for key, value in (("status", status), ("providerCode", code)) if value is not None}
        shown = f" (HTTP {status})" if status is not None else ""
        return kind(
            f"{self._name} {what}{shown}.{self._said(provider_message(fault))} {advice}",
            details=details,
            retry_after_s=_retry_after(fault),
        )

    def _said(self, message: str | None) -> str:
        if not message:
            return ""
        text = " ".join(message.split())
        if self._key:
            text = text.replace(self._key, "[key]")
        text = _KEYS.sub("[key]", text)
        return f' It says: "{text[:MESSAGE_MAX]}{"…" if len(text) > MESSAGE_MAX else ""}".'


def provider_message(fault: Exception) -> str | None:
    """Returns the provider's own words out of an error's body, else the library's."""
    body = getattr(fault, "body", None)
    if isinstance(body, list) and body:
        body = body[0]
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        message = inner.get("message") if isinstance(inner, Mapping) else inner
        if isinstance(message, str):
            return message
    if isinstance(body, str) and body.strip():
        return re.sub(r"<[^>]{0,200}>", " ", body[:2_000])
    if isinstance(fault, pa.ModelHTTPError):
        return None
    return str(fault)[:2_000] or type(fault).__name__


def _says_refusal(fault: pa.ModelAPIError) -> bool:
    words = f"{fault.provider_error_code} {fault.provider_error_type} {provider_message(fault)}".lower()
    return any(word in words for word in ("content_policy", "content_filter", "content management policy", "safety"))


def _retry_after(fault: Exception) -> float | None:
    seconds = getattr(fault, "retry_after", None)
    return min(max(0.0, float(seconds)), RETRY_AFTER_MAX_S) if isinstance(seconds, int | float) else None
