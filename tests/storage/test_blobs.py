"""Blobs: the bytes of a key are its bytes, or nothing is served."""

import asyncio
import errno
import hashlib
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_agent.exceptions import BlobDamaged, BlobNotFound, StorageFull, StorageUnavailable
from jupyter_agent.storage.blobs import FileBlobs
from tests.storage.samples import keys_of


@pytest.fixture
def blobs(tmp_path):
    return FileBlobs(tmp_path)


def files(blobs):
    return sorted(path for path in blobs.folder.rglob("*") if path.is_file()) if blobs.folder.exists() else []


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300).map(lambda part: part * 40) | st.binary(max_size=3000))
def test_what_goes_in_comes_out(blobs, data):
    key = asyncio.run(blobs.put(data))
    assert key == hashlib.sha256(data).hexdigest()
    assert asyncio.run(blobs.get(key)) == data


async def test_bytes_are_kept_once_compressed_where_it_pays(blobs):
    text, noise = b"the same words " * 10_000, os.urandom(100_000)
    for data in (text, noise, text, noise):
        await blobs.put(data)
    assert len(files(blobs)) == 2
    assert blobs.path(hashlib.sha256(text).hexdigest()).stat().st_size < 10_000
    assert blobs.path(hashlib.sha256(noise).hexdigest()).read_bytes() == noise
    assert await keys_of(blobs) == sorted(hashlib.sha256(data).hexdigest() for data in (text, noise))


async def test_many_at_once_put_the_same(blobs):
    data = os.urandom(200_000)
    keys = await asyncio.gather(*(blobs.put(data) for _ in range(20)))
    assert len(set(keys)) == len(files(blobs)) == 1
    assert await blobs.get(keys[0]) == data


@pytest.mark.parametrize("data", [b"words " * 5000, bytes(range(256)) * 3, b"", b"\x78\x9c" + bytes(50)])
async def test_no_flipped_bit_and_no_cut_is_served(blobs, data):
    key = await blobs.put(data)
    path = blobs.path(key)
    kept = path.read_bytes()
    for at in range(0, len(kept), max(1, len(kept) // 50)):
        for wrong in (kept[:at] + bytes([kept[at] ^ 1]) + kept[at + 1 :], kept[:at], kept + kept[: at + 1]):
            path.write_bytes(wrong)
            try:
                served = await blobs.get(key)
            except BlobDamaged:
                served = data
            # Bits behind the end of a zlib stream change nothing of what is served.
            assert served == data
    path.write_bytes(kept[:-1] + b"x" if kept else b"x")
    with pytest.raises(BlobDamaged):
        await blobs.get(key)
    assert await blobs.put(data) == key
    assert await blobs.get(key) == data, "putting the bytes again heals"


KEY = "ab" * 32
BAD_KEYS = [
    "",
    "ab",
    KEY[:-1],
    KEY + "a",
    KEY.upper(),
    KEY + "\n",
    "../" + KEY[3:],
    "..",
    "g" * 64,
    f"sha256:{KEY}",
    "\0" * 64,
]


@pytest.mark.parametrize("key", BAD_KEYS)
async def test_what_is_no_key_is_not_looked_for(blobs, key):
    for work in (blobs.get(key), blobs.delete(key)):
        with pytest.raises(BlobNotFound):
            await work


async def test_absent_and_deleted(blobs):
    with pytest.raises(BlobNotFound):
        await blobs.get(KEY)
    assert await blobs.delete(KEY)
    key = await blobs.put(b"x")
    await blobs.put(b"x")
    assert not await blobs.delete(key, unused_s=60), "somebody put it again just now"
    assert await blobs.get(key) == b"x"
    assert await blobs.delete(key)
    key = await blobs.put(b"x")
    assert await blobs.delete(key, unused_s=60), "whoever made it is who deletes it"
    with pytest.raises(BlobNotFound):
        await blobs.get(key)


async def test_files_are_private_and_nothing_temporary_is_left(blobs):
    key = await blobs.put(b"x")
    assert blobs.path(key).stat().st_mode & 0o777 == 0o600
    assert blobs.path(key).parent.stat().st_mode & 0o777 == 0o700
    assert blobs.temporaries() == []


@pytest.mark.parametrize("call", ["fsync", "open", "rename"])
async def test_a_fault_leaves_nothing_behind(blobs, monkeypatch, call):
    await blobs.put(b"before")

    def fails(*_args, **_options):
        raise OSError(errno.ENOSPC if call != "fsync" else errno.EIO, "told to fail")

    target = "pathlib.Path.rename" if call == "rename" else f"os.{call}"
    with monkeypatch.context() as patch:
        patch.setattr(target, fails)
        with pytest.raises(StorageUnavailable if call == "fsync" else StorageFull):
            await blobs.put(b"after")
    assert len(files(blobs)) == 1
    assert await blobs.get(hashlib.sha256(b"before").hexdigest()) == b"before"
    if call == "fsync":
        with pytest.raises(StorageUnavailable, match="start the server again"):
            await blobs.put(b"after")
    else:
        assert await blobs.get(await blobs.put(b"after")) == b"after"
