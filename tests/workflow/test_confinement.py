"""What a script may try against the machine (G03-G05): inside the interpreter, and as if it had got out of it."""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from jupyter_agent.exceptions import AgentError
from jupyter_agent.workflow import confined
from jupyter_agent.workflow.limits import Limits
from jupyter_agent.workflow.sandbox import Sandbox

from .hosts import BEGAN, LoudHost, carry

CANARY = "canary-7f3a"
NEW = Path("/tmp/new")  # noqa: S108 - what a script tries to write
linux = pytest.mark.skipif(sys.platform != "linux", reason="Landlock and seccomp are Linux's")


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(CANARY)
    return path


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(0)
        yield server


ESCAPES = [
    "().__class__.__bases__[0].__subclasses__()",
    "(1).__class__.__mro__[-1].__subclasses__()",
    "'{0.__class__.__init__.__globals__}'.format(budget)",
    "'{0.__class__.__base__}'.format(agent)",
    "f'{agent.__globals__}'",
    "agent.__code__, agent.__closure__, agent.__builtins__",
    "try:\n    1 / 0\nexcept Exception as e:\n    r = e.__traceback__.tb_frame.f_back.f_globals\nr",
    "c = agent('x')\nc.cr_frame.f_globals",
    "(x for x in [1]).gi_frame",
    "type('A', (object,), {'__del__': lambda s: open('CANARY').read()})",
    "type(type)(1)",
    "__build_class__(lambda: None, 'A')",
    "class A:\n    def __reduce__(self): return (open, ('CANARY',))\nimport copy\ncopy.deepcopy(A())",
    "__import__('os').system('cat CANARY')",
    "__import__('ctypes')",
    "__builtins__",
    "globals()['__builtins__']",
    "eval('open(\"CANARY\").read()')",
    "exec('import os\\nr = os.listdir(\"/\")')\nr",
    "eval('__import__(\"socket\")')",
    "compile('1', 'x', 'exec')",
    "import gc\ngc.get_objects()",
    "import sys\nsys.modules['os'].system('id')",
    "import sys\nsys._getframe()",
    "import pickle\npickle.loads(b'cos\\nsystem\\n(S\"id\"\\ntR.')",
    "import codecs\ncodecs.open('CANARY').read()",
    "import importlib\nimportlib.import_module('os')",
    "import builtins\nbuiltins.open('CANARY').read()",
    "import warnings\nwarnings.catch_warnings()._module",
    "import inspect\ninspect.currentframe()",
    "import os\nos.system('cat CANARY')",
    "import os\nos.environ['HOME']",
    "import os\nos.getenv('PATH') or 1 / 0",
    "import os\nos.listdir('/')",
    "import os\nos.open('CANARY', 0)",
    "import subprocess\nsubprocess.check_output(['cat', 'CANARY'])",
    "open('CANARY').read()",
    "open('CANARY', 'w').write('x')",
    "open('/proc/self/environ').read()",
    "open('../../../etc/passwd').read()",
    "from pathlib import Path\nPath('CANARY').read_text()",
    "from pathlib import Path\nPath('/tmp/new').write_text('x')",
    "from pathlib import Path\n[str(p) for p in Path('/').iterdir()]",
    "from pathlib import Path\nPath('CANARY').exists() or 1 / 0",
    "with open('CANARY') as f: r = f.read()\nr",
    "import tomllib\ntomllib.load(open('CANARY', 'rb'))",
    "import hashlib\nhashlib.file_digest(open('CANARY', 'rb'), 'sha256').hexdigest()",
    "import socket\nsocket.create_connection(('127.0.0.1', PORT))",
    "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:PORT').read()",
    "import http.client\nhttp.client.HTTPConnection('127.0.0.1', PORT).request('GET', '/')",
    "import asyncio\nawait asyncio.open_connection('127.0.0.1', PORT)",
    "import ssl, ctypes, multiprocessing",
    "getattr(budget, '__class__').__init__.__globals__",
    "setattr(budget, 'total', 10**9)\nbudget.host",
    "budget.spent.__self__",
    "args.__class__.__bases__[0].__subclasses__()",
    "_call.__globals__",
    "_call.__self__",
]


@pytest.mark.parametrize("text", ESCAPES)
async def test_the_escape_corpus_reaches_nothing(sandbox, canary, listener, text):
    host = LoudHost(path="x")
    text = text.replace("CANARY", str(canary)).replace("PORT", str(listener.getsockname()[1]))
    result = None
    with suppress(AgentError):
        result = await carry(sandbox, text, host, limits=Limits(cell_s=2))
    said = json.dumps([result, host.said])
    assert CANARY not in said
    assert "root:" not in said
    assert canary.read_text() == CANARY
    assert not _exists(NEW)
    assert not host.calls
    with pytest.raises(BlockingIOError):
        listener.accept()


PROBE = """
import ctypes, json, os, socket, sys
from pathlib import Path
sys.path.insert(0, {root!r})
import encodings.idna
from jupyter_agent.workflow.confined import confine

canary, port, parent = {canary!r}, {port}, os.getppid()
libc = ctypes.CDLL(None, use_errno=True)
missing = confine(sys.executable)

def connect(family, kind, address):
    with socket.socket(family, kind) as one:
        one.settimeout(2)
        one.connect(address)
        return "connected"

def call(number, *args):
    answer = libc.syscall(number, *args)
    if answer < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return answer

TRIES = {{
    "read": lambda: Path(canary).read_text(),
    "home": lambda: os.listdir(os.path.expanduser("~")),
    "etc": lambda: Path("/etc/passwd").read_text(),
    "own environment": lambda: Path("/proc/self/environ").read_text(),
    "parent's environment": lambda: Path(f"/proc/{{parent}}/environ").read_bytes(),
    "parent's memory": lambda: open(f"/proc/{{parent}}/mem", "rb").read(1),
    "write": lambda: Path(canary).write_text("x"),
    "new file": lambda: Path(canary + ".new").write_text("x"),
    "scratch": lambda: Path("/tmp/new").write_text("x"),
    "shared memory": lambda: Path("/dev/shm/new").write_text("x"),
    "remove": lambda: os.unlink(canary),
    "link": lambda: os.link(canary, canary + ".link"),
    "tcp": lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", port)),
    "tcp 6": lambda: connect(socket.AF_INET6, socket.SOCK_STREAM, ("::1", port)),
    "udp": lambda: connect(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", port)),
    "unix": lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, canary),
    "abstract": lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, "\\0x"),
    "pair": lambda: socket.socketpair()[0].fileno(),
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).fileno(),
    "names": lambda: socket.getaddrinfo("localhost", 80),
    "metadata": lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ("169.254.169.254", 80)),
    "postgresql": lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 5432)),
    "redis": lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 6379)),
    "shell": lambda: os.execv("/bin/sh", ["sh", "-c", "true"]),
    "fork": lambda: os.fork(),
    "spawn": lambda: os.posix_spawn("/bin/true", ["true"], {{}}),
    "signal": lambda: os.kill(parent, 0),
    "trace": lambda: libc.ptrace(16, parent, 0, 0) and call(-1),
    "mount": lambda: call({{"x86_64": 165}}.get(os.uname().machine, 40), b"none", b"/mnt", b"tmpfs", 0, None),
    "namespace": lambda: call({{"x86_64": 272}}.get(os.uname().machine, 97), 0x10000000),
    "io_uring": lambda: call(425, 1, None),
    "memory": lambda: len(bytearray(3 << 30)),
    "privileges": lambda: os.setuid(0) if os.getuid() else None,
}}
got = {{}}
for name, attempt in TRIES.items():
    try:
        got[name] = repr(attempt())[:80]
    except (OSError, MemoryError) as fault:
        continue
sys.stdout.write(json.dumps({{"missing": missing, "got": got, "tried": len(TRIES)}}))
"""


@linux
def test_a_process_that_is_confined_can_do_nothing_to_the_machine(canary, listener):
    """As if a script had broken out of the interpreter and ran what it likes in the worker's process."""
    root = str(Path(confined.__file__).parents[2])
    probe = PROBE.format(root=root, canary=str(canary), port=listener.getsockname()[1])
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=True)
    told = json.loads(done.stdout)
    assert told["missing"] == []
    assert told["tried"] > 30
    # Without privileges there are none to get; as root the attempt is a no-op.
    assert set(told["got"]) <= {"privileges"}
    assert canary.read_text() == CANARY
    with pytest.raises(BlockingIOError):
        listener.accept()


@linux
async def test_the_worker_is_confined_before_it_runs_anything(sandbox):
    assert sandbox.missing == ()
    async with sandbox.session(Limits(), began_at=BEGAN, seed="x") as session:
        worker = Path(f"/proc/{session.worker_pid}")
        status = dict(line.split(":\t", 1) for line in (worker / "status").read_text().splitlines() if ":\t" in line)
        assert (status["Seccomp"].strip(), status["NoNewPrivs"].strip()) == ("2", "1")
        assert (worker / "environ").read_bytes() == b""
        assert (worker / "cwd").readlink() == Path("/")
        opened = {fd.name: str(fd.readlink()) for fd in (worker / "fd").iterdir()}
        assert opened.pop("2") == "/dev/null"
        kinds = {target.split(":")[0] for target in opened.values()}
        assert kinds <= {"pipe", "anon_inode", "socket"}, opened
        limits = (worker / "limits").read_text()
        assert f"Max address space         {confined.MEMORY_BYTES}" in limits
        assert "Max file size             0" in limits
        assert "Max core file size        0" in limits


@linux
async def test_no_worker_outlives_its_sandbox():
    async with Sandbox(workers=1) as sandbox, sandbox.session(Limits(), began_at=BEGAN, seed="x") as session:
        pid = session.worker_pid
        working = asyncio.ensure_future(session.feed_start("while True: pass"))
        await asyncio.sleep(0.1)
        working.cancel()
    async with asyncio.timeout(5):
        while _is_alive(pid):
            await asyncio.sleep(0.05)


def _is_alive(pid: int) -> bool:
    """A process that ended and was not waited for yet has no command line any more."""
    with suppress(OSError):
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    return False


def _exists(path: Path) -> bool:
    return path.exists()
