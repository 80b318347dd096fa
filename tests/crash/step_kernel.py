"""A kernel that makes steps one after the other, and writes down which of them it was given. It is killed meanwhile.

python step_kernel.py URL TOKEN FOLDER STEPS
"""

import asyncio
import os
import sys
from pathlib import Path

from jupyter_agent.client.client import Client
from jupyter_agent.client.discovery import gateway_at
from jupyter_agent.client.workflow import Workflow

URL, TOKEN, FOLDER, STEPS = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])


def note(name: str, line: object) -> None:
    handle = os.open(FOLDER / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(handle, f"{line}\n".encode())
    os.close(handle)


async def main() -> None:
    client = Client(gateway_at(f"{URL}/", TOKEN, source="the trial"))
    wf = Workflow(client, "kills")

    def act(number: int, folder: str) -> int:
        with Path(folder, "ran").open("a") as file:
            file.write(f"{number}\n")
        return number * 2

    for number in range(STEPS):
        assert await wf.step(act, number, str(FOLDER)) == number * 2
        note("told", number)
    reused = await asyncio.to_thread(lambda: sum(row.reused is True for row in wf.calls))
    await asyncio.to_thread(client.close)
    note("reused", reused)


asyncio.run(main())
