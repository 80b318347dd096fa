"""Confines a process before it becomes the sandbox's worker. As a script it needs only the standard library.

    python -I -S confined.py WORKER_BINARY ARGUMENT…

What holds, on Linux: no new privileges; resource limits; no file but the worker's binary and the system's libraries can
be opened, nothing but the binary executed, nothing written (Landlock); no socket can be made, no other process looked
into or traced, no kernel interface that leads around this (seccomp). Elsewhere the resource limits hold. What could not
be had is said by `missing`, never passed over.
"""

import ctypes
import json
import os
import resource
import struct
import sys
from pathlib import Path

MEMORY_BYTES = 2 << 30
"""Address space. The worker counts the memory of a script itself; this holds where that count should fail."""

# linux/landlock.h, with the access rights up to each version of its interface.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
_FILES = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_NETWORK = 0b11
_SCOPES = 0b11
_O_PATH = getattr(os, "O_PATH", 0)

# linux/seccomp.h, linux/filter.h, linux/audit.h
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _JUMP_EQUAL, _JUMP_GREATER, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _REFUSE, _UNKNOWN = 0x7FFF0000, 0x80000000, 0x00050000 | 1, 0x00050000 | 38
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE_3 = 435
_CLONE_THREAD = 0x10000
_X32 = 0x40000000
_MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_REFUSED = {
    "x86_64": (
        *(41, 42, 43, 44, 45, 46, 47, 49, 50, 53, 288, 299, 307),  # sockets
        *(101, 310, 311, 312, 434, 438, 440, 424),  # ptrace, process_vm_*, kcmp, pidfd_*
        *(425, 426, 427, 321, 298, 323, 248, 249, 250),  # io_uring, bpf, perf, userfaultfd, keys
        *(165, 166, 155, 161, 272, 308, 246, 320, 175, 313, 176, 428, 429, 430, 431, 432, 433, 442),  # mounts, modules
        *(57, 58, 62, 200, 234),  # fork, vfork, kill, tkill, tgkill
    ),
    "aarch64": (
        *(198, 199, 200, 201, 202, 203, 206, 207, 211, 212, 242, 243, 269),
        *(117, 270, 271, 272, 434, 438, 440, 424),
        *(425, 426, 427, 280, 241, 282, 217, 218, 219),
        *(39, 40, 41, 51, 97, 268, 104, 294, 105, 273, 106, 428, 429, 430, 431, 432, 433, 442),
        *(129, 130, 131),
    ),
}
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")


def confine(binary: str, *, memory_bytes: int = MEMORY_BYTES) -> list[str]:
    """Confines this process for good, and returns in words what could not be had here. Nothing takes it back."""
    missing = []
    _limit(memory_bytes)
    if sys.platform != "linux":
        return ["Landlock and seccomp (they are Linux's)"]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        return ["no_new_privs", "Landlock", "seccomp"]
    if not _restrict_files(libc, binary):
        missing.append("Landlock (files of your account can be read by the worker's process)")
    if not _restrict_calls(libc):
        missing.append("seccomp (the worker's process can make sockets)")
    return missing


def _limit(memory_bytes: int) -> None:
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 64,
    }
    for what, wanted in limits.items():
        _, hard = resource.getrlimit(what)
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        try:
            resource.setrlimit(what, (most, most))
        except (OSError, ValueError):
            # macOS has no limit of address space that can be set; the worker's own count holds there.
            continue


def _restrict_files(libc: ctypes.CDLL, binary: str) -> bool:
    version = libc.syscall(_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    handled = _FILES[max(known for known in _FILES if known <= version)]
    fields = struct.pack("=QQQ", handled, _NETWORK if version >= 4 else 0, _SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = libc.syscall(_CREATE_RULESET, fields, size, 0)
    if ruleset < 0:
        return False
    # The loader beside the libraries is executed as well as read.
    allowed = {binary: _EXECUTE | _READ_FILE, **dict.fromkeys(_LIBRARIES, _READ_FILE | _READ_DIR | _EXECUTE)}
    for path, access in allowed.items():
        _allow(libc, ruleset, path, access)
    done = libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0
    os.close(ruleset)
    return bool(done)


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, access: int) -> None:
    try:
        fd = os.open(path, _O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not Path(path).is_dir():
        access &= ~_READ_DIR
    libc.syscall(_ADD_RULE, ruleset, 1, struct.pack("=Qi", access, fd), 0)
    os.close(fd)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _restrict_calls(libc: ctypes.CDLL) -> bool:
    machine = os.uname().machine
    if machine not in _MACHINES or struct.calcsize("P") != 8:
        return False
    program = _program(machine)
    filtered = _Program(len(program) // 8, program)
    return bool(libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(filtered), 0, 0) == 0)


def _program(machine: str) -> bytes:
    """Returns the filter: refused calls answer "not permitted". Threads may be made, processes not; `clone3` answers
    that it is unknown, since its flags cannot be seen, and libraries then use `clone`."""
    refused = _REFUSED[machine]
    steps = [
        (_LOAD, 0, 0, 4),
        (_JUMP_EQUAL, 1, 0, _MACHINES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
        (_JUMP_EQUAL, 0, 1, _CLONE_3),
        (_RETURN, 0, 0, _UNKNOWN),
        (_JUMP_EQUAL, 0, 3, _CLONE[machine]),
        (_LOAD, 0, 0, 16),
        (_JUMP_SET, len(refused) + 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _REFUSE),
        # x86's third interface numbers its calls above this one.
        (_JUMP_GREATER, len(refused) + 1, 0, _X32),
        *((_JUMP_EQUAL, len(refused) - at, 0, call) for at, call in enumerate(refused)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def main(command: list[str]) -> None:
    """Becomes the worker. Descriptors other than the three that it talks by are closed, the environment is empty."""
    if command[0] == "--missing":
        # Said by a process that then ends: what could not be had here.
        sys.stdout.write(json.dumps(confine(command[1])))
        return
    # What a worker has to say it says by its protocol.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    os.closerange(3, 4096)
    os.chdir("/")
    confine(command[0])
    os.execve(command[0], command, {})  # noqa: S606 - the one program that this is for


if __name__ == "__main__":
    main(sys.argv[1:])
