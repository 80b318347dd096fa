"""A model that is told by a function what to answer to each prompt, and plays it as the scripted model does; and the
server's rooms for scripts over a real runner, journal, store and sandbox."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from jupyter_agent.models import ModelCatalog
from jupyter_agent.models.contract import ModelRequest, Piece
from jupyter_agent.models.scripted import ScriptedModel
from jupyter_agent.records import HeadlessRun
from jupyter_agent.runtime import RunnerSettings
from jupyter_agent.workflow.calls import Calls
from jupyter_agent.workflow.discovery import CATALOG, places
from jupyter_agent.workflow.headless import Headless
from jupyter_agent.workflow.resolving import Resolver
from tests.runtime.conftest import ALICE, World

FAILS = [{"text": "", "fail": {"code": "bad_credentials", "message": "The key is wrong."}}]
Play = Callable[[str], Any]
"""Returns the answer to a prompt: text, something to answer as JSON, or a list of turns of the scripted model."""


class Actor:
    """Answers as `play` says. `heard` are the prompts, one a run."""

    name = "actor"
    context_max = None
    sees_images = True
    tools_first = False

    def __init__(self) -> None:
        self.play: Play = lambda prompt: prompt
        self.heard: list[str] = []

    def cache_life_s(self, settings: Mapping[str, Any]) -> None:
        """There is no cache."""

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Piece, None]:
        prompt = next(message.text for message in request.messages if message.role == "user")
        if request.turn == 0:
            self.heard.append(prompt)
        said = self.play(prompt)
        turns = said if isinstance(said, list) else [said if isinstance(said, str) else json.dumps(said)]
        async for piece in ScriptedModel(turns).stream(request):
            yield piece


class Actors(ModelCatalog):
    """The catalog with one model more, which calls get that name none."""

    def __init__(self) -> None:
        super().__init__("echo")
        self._default = "actor"
        self.actor = Actor()

    def get(self, name: str, *, script: Any = None) -> Any:
        return self.actor if name == "actor" else super().get(name, script=script)


class Stage:
    """Scripts over a world: start one, wait for its end."""

    def __init__(self, world: World, models: Actors, **given: Any) -> None:
        """`given` is what else the calls are given."""
        self.world = world
        self.actor = models.actor
        self.calls = Calls(
            storage=world.storage, journal=world.journal, runner=world.runner, project="p",
            resolver=Resolver(models=models, toolbox=world.toolbox, settings=world.settings), **given,
        )  # fmt: skip
        where = places(world.workspace, world.folder / "config", CATALOG)
        self.headless = Headless(storage=world.storage, calls=self.calls, folder=world.folder, where=where)

    async def run(self, name: str, **args: Any) -> HeadlessRun:
        return await self.ended(await self.headless.start(name, args, by=ALICE))

    async def ended(self, run: HeadlessRun) -> HeadlessRun:
        """Returns the run when it is over and has told everything."""
        async with asyncio.timeout(60):
            while not await self.headless.is_over(now := await self.headless.get(run.workflow_run_id, by=ALICE)):
                await asyncio.sleep(0.02)
        return now

    def write(self, name: str, text: str) -> None:
        """Writes a workflow into the config place, where it needs no approval."""
        folder: Path = self.world.folder / "config" / "agent" / "workflows"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.py").write_text(f'meta = {{"name": "{name}"}}\n{text}')

    async def close(self) -> None:
        await self.headless.close()
        await self.calls.close()


@contextlib.asynccontextmanager
async def staged(folder: Path, **given: Any) -> AsyncIterator[Stage]:
    """Opens a world with an actor in it."""
    models = Actors()
    world = await World(folder, settings=RunnerSettings(retry_base_s=0.01), models=models).open()
    stage = Stage(world, models, **given)
    try:
        yield stage
    finally:
        await stage.close()
        await world.close()
