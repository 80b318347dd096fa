"""Where a handshake comes from, and what its credential is worth there."""

import pytest

from jupyter_agent.gateway.origins import Allowed, Credential, Origin, Verdict, classify, judge

HOST = "lab.example:8888"
OWN = f"http://{HOST}"


@pytest.mark.filterwarnings("ignore:allow_origin_pat")  # Jupyter's own, for patterns that fit a beginning only
@pytest.mark.parametrize(
    ("headers", "allowed", "expected"),
    [
        ({}, Allowed(), Origin.NONE),
        ({"Sec-Fetch-Site": "none"}, Allowed(), Origin.NONE),
        ({"Sec-Fetch-Site": "cross-site"}, Allowed("*"), Origin.CROSS),
        ({"Sec-Fetch-Site": "same-site"}, Allowed(), Origin.CROSS),
        ({"Origin": OWN}, Allowed(), Origin.SAME),
        ({"Origin": OWN.upper()}, Allowed(), Origin.SAME),
        ({"Origin": "http://lab.example:3000"}, Allowed(), Origin.CROSS),
        ({"Origin": "http://lab.example"}, Allowed(), Origin.CROSS),
        ({"Origin": f"https://{HOST}"}, Allowed(), Origin.CROSS),
        ({"Origin": f"https://{HOST}", "X-Forwarded-Proto": "https"}, Allowed(), Origin.SAME),
        ({"Origin": OWN, "X-Forwarded-Proto": "https"}, Allowed(), Origin.CROSS),
        ({"Origin": f"http://x.{HOST}"}, Allowed(), Origin.CROSS),
        ({"Origin": f"http://{HOST}.evil.example"}, Allowed(), Origin.CROSS),
        ({"Origin": f"http://{HOST}@evil.example"}, Allowed(), Origin.CROSS),
        ({"Origin": "null"}, Allowed(), Origin.CROSS),
        ({"Origin": "null"}, Allowed(pattern=".*"), Origin.CROSS),
        ({"Origin": "null"}, Allowed(inband=("null",)), Origin.INBAND),
        ({"Origin": "app://obsidian.md"}, Allowed(inband=("app://obsidian.md",)), Origin.INBAND),
        ({"Origin": "app://obsidian.md.evil"}, Allowed(inband=("app://obsidian.md",)), Origin.CROSS),
        ({"Origin": "https://evil"}, Allowed("*"), Origin.WILDCARD),
        ({"Origin": "https://hub.example"}, Allowed("https://hub.example"), Origin.LISTED),
        ({"Origin": "https://a.example"}, Allowed(pattern=r"https://.\.example"), Origin.LISTED),
        ({"Origin": "https://a.example.evil"}, Allowed(pattern=r"https://.\.example"), Origin.CROSS),
        ({"Origin": ""}, Allowed(), Origin.CROSS),
        ({"Origin": "http://[::1"}, Allowed(), Origin.CROSS),
        ({"Origin": "http://lab.example:x"}, Allowed(), Origin.CROSS),
    ],
)
def test_an_origin_is_what_its_headers_say(headers: dict[str, str], allowed: Allowed, expected: Origin) -> None:
    assert classify({"Host": HOST, **headers}, protocol="http", allowed=allowed) is expected


def test_a_default_port_may_be_named_or_not() -> None:
    headers = {"Host": "lab.example:443", "Origin": "https://lab.example"}
    assert classify(headers, protocol="https", allowed=Allowed()) is Origin.SAME


@pytest.mark.parametrize("origin", list(Origin))
def test_a_token_counts_from_everywhere(origin: Origin) -> None:
    assert judge(origin, Credential.EXPLICIT, cookies_count=False) is Verdict.AUTHENTICATED


@pytest.mark.parametrize("origin", list(Origin))
@pytest.mark.parametrize("cookies_count", [True, False])
def test_a_cookie_counts_from_trusted_origins_only(origin: Origin, *, cookies_count: bool) -> None:
    verdict = judge(origin, Credential.AMBIENT, cookies_count=cookies_count)
    if origin is Origin.CROSS:
        assert verdict is Verdict.REFUSED
    elif cookies_count and origin in (Origin.NONE, Origin.SAME, Origin.LISTED):
        assert verdict is Verdict.AUTHENTICATED
    else:
        assert verdict is Verdict.PENDING


@pytest.mark.parametrize("origin", list(Origin))
def test_no_credential_opens_nothing(origin: Origin) -> None:
    expected = Verdict.REFUSED if origin is Origin.CROSS else Verdict.PENDING
    assert judge(origin, Credential.NONE, cookies_count=True) is expected
