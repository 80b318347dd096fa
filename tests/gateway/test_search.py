"""Threads found again from outside: by their title and metadata, over REST and from Python."""

import asyncio
from urllib.parse import quote, urlencode

import pytest

import jupyter_agent as ja
from jupyter_agent.exceptions import InvalidRequest
from tests.gateway.talk import api
from tests.live_server import TOKEN, LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def made(server: LiveServer, title: str | None, **metadata: object) -> str:
    body = {"metadata": metadata} | ({"title": title} if title else {})
    _, thread = await api(server, "POST", "threads", body)
    return str(thread["threadId"])


async def found(server: LiveServer, limit: int = 2, **query: str) -> list[str]:
    """Returns the ids of all pages."""
    ids: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        status, page = await api(server, "GET", f"threads?{urlencode({'limit': limit, **query, **cursor})}")
        assert status == 200, page
        ids += [thread["threadId"] for thread in page["items"]]
        if page["nextCursor"] is None:
            return ids
        cursor = {"cursor": page["nextCursor"]}


async def test_threads_are_found_by_title_and_metadata(server: LiveServer) -> None:
    wages = await made(server, "Wages 50% of ÄRZTE", project="survey", n=1, done=True)
    other = await made(server, "wages 500", project="survey", n=2, done=False)
    await made(server, None, project="other", n=1)
    assert await found(server, search="wages") == [other, wages]
    assert await found(server, search="50%") == [wages]
    assert await found(server, search="ärzte") == [wages]
    assert await found(server, search="nobody's") == []
    assert await found(server, **{"metadata.project": "survey"}) == [other, wages]
    assert await found(server, **{"metadata[project]": "survey", "metadata.done": "true"}) == [wages]
    assert await found(server, search="WAGES", **{"metadata.n": "2"}) == [other]


@pytest.mark.parametrize("key", ["a.b", "$.a", 'a"b', "a]b", "a b", "ü", "%", "'", "a[0]", "\U0001f600", "metadata.a"])
async def test_a_key_is_data(server: LiveServer, key: str) -> None:
    thread = await made(server, None, **{key: f"of {key}"})
    assert await found(server, **{f"metadata.{key}": f"of {key}"}) == [thread]
    assert await found(server, **{f"metadata[{key}]": f"of {key}"}) == [thread]


@pytest.mark.parametrize(
    "query",
    ["search=", "search=" + "x" * 201, "metadata=x", "metadata=x&metadata.a=1", "metadata.a=" + "x" * 1_001, "meta.a=1",
     "metadata." + "y" * 201 + "=1", "search[a]=b", "Search=x",
     "&".join(f"metadata.k{number}=1" for number in range(9))],
)  # fmt: skip
async def test_a_search_that_is_wrong_is_refused(server: LiveServer, query: str) -> None:
    status, fault = await api(server, "GET", f"threads?{query}")
    assert (status, fault["code"]) == (422, "invalid_request"), fault
    assert fault["details"]["fields"]


@pytest.mark.parametrize("text", ["\0", "\ud800", "\U0001f600", "%", "_", "'--", "\\", "x" * 200])
async def test_any_text_may_be_searched_for(server: LiveServer, text: str) -> None:
    said = quote(text.encode("utf-8", "surrogatepass"))
    status, page = await api(server, "GET", f"threads?search={said}&metadata.a={said}")
    assert (status, page["items"]) == (200, [])


async def test_threads_are_found_from_python(server: LiveServer) -> None:
    first = await made(server, "From Python, once", team="blue", size=3, open=True)
    await made(server, "From Python, twice", team="red")
    before = ja.connect()
    ja.connect(server.url, TOKEN)
    try:
        blue = await ja.athreads(metadata={"team": "blue", "size": 3, "open": True})
        assert [one.thread_id for one in blue] == [first]
        assert len(await ja.athreads(search="from python", limit=1)) == 1
        assert len(await ja.athreads(search="FROM PYTHON")) == 2
        rows = await asyncio.to_thread(lambda: ja.threads(search="once", metadata={"team": "blue"}))
        assert [one.title for one in rows] == ["From Python, once"]
        with pytest.raises(InvalidRequest, match="not by"):
            await ja.athreads(metadata={"team": ["blue"]})
        assert (await ja.athread("From Python, once")).id == first
    finally:
        await asyncio.to_thread(ja.connect().close)
        from jupyter_agent.client.session import session

        session()._client = before
