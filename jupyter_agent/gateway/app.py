"""The server extension: its configuration, its start, its end. The only place of traitlets configuration."""

import asyncio
import logging
import os
import secrets
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, cast

from jupyter_core.paths import jupyter_data_dir
from jupyter_server._tz import utcnow
from jupyter_server.extension.application import ExtensionApp
from jupyter_server.serverapp import ServerApp
from jupyter_server.utils import url_path_join
from tornado import ioloop
from traitlets import Bool, Dict, Enum, Float, Integer, List, Unicode

from ..exceptions import AgentError, RateLimited, StorageUnavailable
from ..journal.retention import Limits
from ..records import Budget, Run, WorkflowBudget
from ..runtime import RunnerSettings
from ..runtime.policy import POLICIES
from ..storage import DATABASE_URL
from ..storage.folder import workspace_folder
from .auth import AllowCookies, Auth
from .changes import Changes
from .client_tools import ClientTools
from .environment import JupyterEnvironment
from .kernel_tokens import KernelTokens
from .openapi import document
from .redaction import Redaction, install
from .rooms import DRAIN_S, Plan, Rooms, open_rooms
from .routes import API, ROUTES, handlers
from .sockets import Sockets
from .sweeping import ResultLimits

RETRY_OPENING_S: Final = 5.0
OPENING_S: Final = 30.0
GOING_AWAY: Final = 1001
TOOLS_OFF: Final = (
    "Tools are switched off, since this server asks nobody who they are. Set a token or a password, or accept the risk "
    "with --AgentGateway.allow_insecure_server=True."
)

log = logging.getLogger(__name__)


class AgentGateway(ExtensionApp):
    """Hosts agent runs on this Jupyter server, and lets browsers, kernels and scripts start and follow them."""

    name = "jupyter_agent"

    data_folder = Unicode(
        help="""Folder of threads, runs, journals and blobs; one server at a time uses it. The default is a folder of
        its own for each workspace: `<Jupyter's data directory>/jupyter_agent/<workspace's name>-<hash of its path>`."""
    ).tag(config=True)
    database_url = Unicode(
        help="""A PostgreSQL database that keeps threads, runs, journals and blobs instead of the data folder, for
        example `postgresql://user:password@host:5432/jupyter_agent`; servers may share it. The variable
        JUPYTER_AGENT_DATABASE_URL says the same and keeps the password out of files, command lines and Jupyter's debug
        log, which shows all configuration. Needs `pip install 'jupyter_agent[postgres]'`."""
    ).tag(config=True)
    lease_ttl_s = Float(
        10.0,
        min=1.0,
        help="""Seconds after which a server that shares its database and does not answer any more loses its runs to
        the others. It stops them by itself before.""",
    ).tag(config=True)
    workspace = Unicode(
        help="""Folder that the file tools of agents stay inside and kernels start in. Default: the server's root."""
    ).tag(config=True)
    default_model = Unicode(
        "demo",
        help="""Model of runs that name none, as `provider:model`, for example `anthropic:claude-sonnet-5-5`; `demo`
        needs nothing.""",
    ).tag(config=True)
    base_urls = Dict(
        help="""Providers of models by name, each a dictionary with `base_url` and optionally `kind` (openai-chat,
        openai-responses, anthropic, google), `api_key_env` (the variable that holds the key), `models`, `models_only`,
        `context_max` and `timeout_s`. Addresses of models are taken from here and from nowhere else."""
    ).tag(config=True)
    prices = Dict(
        help="""Prices that differ from the list that comes along: by `provider:model`, a dictionary with `input` and
        `output`, optionally `cache_read` and `cache_write`, in US dollars for a million tokens."""
    ).tag(config=True)
    policy = Enum(sorted(POLICIES), "default", help="""Policy of runs that name none.""").tag(config=True)

    budget_turns = Integer(50, allow_none=True, help="""Turns of a run at most; None for no limit.""").tag(config=True)
    budget_tool_calls = Integer(200, allow_none=True, help="""Tool calls of a run at most; None for no limit.""").tag(
        config=True
    )
    budget_seconds = Float(
        1800.0,
        allow_none=True,
        help="""Seconds of work of a run at most, without the time it waits for people; None for no limit.""",
    ).tag(config=True)
    budget_tokens = Integer(None, allow_none=True, help="""Tokens of a run at most, in and out together.""").tag(
        config=True
    )
    budget_cost = Float(None, allow_none=True, help="""US dollars of a run at most.""").tag(config=True)
    approval_timeout_s = Float(
        600.0, help="""Seconds that an approval waits for a person; then the call is rejected."""
    ).tag(config=True)
    input_timeout_s = Float(24 * 3600.0, help="""Seconds that a question waits for a person's answer.""").tag(
        config=True
    )

    flows = Dict(
        help="""Flows that can be started on this server, by their names: where each is, as `module:name`. Their
        functions run in the server's process, so name only modules that you trust."""
    ).tag(config=True)
    flow_runs_days = Float(
        None,
        min=0.0,
        max=36_500.0,
        allow_none=True,
        help="""Days after its end at which a flow's run is deleted with its steps; None keeps it.""",
    ).tag(config=True)
    retention_days = Float(
        None,
        min=0.0,
        max=36_500.0,
        allow_none=True,
        help="""Days after which a thread that was not changed is deleted with its runs; None keeps it. What would go
        is shown by `jupyter agent prune --older-than 30d --dry-run`.""",
    ).tag(config=True)
    retention_bytes = Integer(
        None,
        min=0,
        allow_none=True,
        help="""Bytes of the data folder at most: while it holds more, the threads that were not changed for longest are
        deleted; None for no limit. Not with a `database_url`: what it weighs is not known.""",
    ).tag(config=True)
    workflow_budget_tokens = Integer(
        100_000,
        min=1,
        allow_none=True,
        help="""Tokens that the live calls of one pass of a workflow may take together, where it says nothing of them;
        None for no limit.""",
    ).tag(config=True)
    workflow_budget_cost = Float(
        None, allow_none=True, help="""US dollars of one pass of a workflow at most, where it says nothing of them."""
    ).tag(config=True)
    workflow_results_days = Float(
        None,
        min=0.0,
        max=36_500.0,
        allow_none=True,
        help="""Days after which the stored answer of a workflow's call that no pass used is deleted; None keeps it.""",
    ).tag(config=True)
    workflow_results_bytes = Integer(
        1_000_000_000,
        min=0,
        allow_none=True,
        help="""Bytes that the stored answers of workflows take together at most: the least recently used ones go first;
        None for no limit.""",
    ).tag(config=True)
    workflow_active_s = Float(
        1_800.0,
        min=0.1,
        allow_none=True,
        help="""Seconds that a workflow may work on the server, without the time in which it merely waits for people;
        None for no limit.""",
    ).tag(config=True)
    workflow_silent_s = Float(
        300.0,
        min=0.1,
        help="""Seconds after which a call of a workflow is shown as stalled, where nothing has come of it.""",
    ).tag(config=True)
    retention_every_s = Float(
        3600.0, min=0.1, help="""Seconds between two looks for what is beyond these limits."""
    ).tag(config=True)

    inband_origins = List(
        Unicode(),
        help="""Origins of other pages that may open the socket with a token in the first frame, as exact strings, for
        example `app://obsidian.md`, or `null` for pages of files. Their cookies never count.""",
    ).tag(config=True)
    allow_cookie_ws = Enum(
        ["auto", "always", "never"],
        "auto",
        help="""Whether a cookie alone opens the socket, from the server's own pages. `auto`: yes, except on a
        JupyterHub without a domain per user, where pages of other users have the same origin.""",
    ).tag(config=True)
    allow_kernel_approvals = Bool(
        False,
        help="""Whether kernels may approve tool calls and choose policies, with the tokens that they were given.""",
    ).tag(config=True)
    allow_insecure_server = Bool(
        False, help="""Whether agents may use tools on a server that asks nobody who they are."""
    ).tag(config=True)
    max_sockets = Integer(256, min=1, help="""Open sockets of one user at most.""").tag(config=True)
    max_pending_sockets = Integer(
        64, min=1, help="""Open sockets at most whose client has not said yet who it is."""
    ).tag(config=True)
    max_pending_sockets_per_address = Integer(16, min=1, help="""The same, from one address.""").tag(config=True)
    reverify_every_s = Float(
        300.0, min=0.1, help="""Seconds after which the credential of an open socket is verified again."""
    ).tag(config=True)
    stalled_after_s = Float(
        20.0, min=0.1, help="""Seconds after which a client that takes nothing is disconnected; it resumes later."""
    ).tag(config=True)
    max_attachment_mb = Integer(20, min=1, help="""Megabytes of one attachment at most.""").tag(config=True)
    kernel_idle_s = Float(
        600.0, min=1.0, help="""Seconds after which an unused kernel is shut down that was started for a thread."""
    ).tag(config=True)

    _told_database_url = ""
    _rooms: Rooms | None = None
    _opening: "asyncio.Task[None] | None" = None
    _fault: AgentError | None = None
    _tried_at: float = 0.0
    _is_stopping = False

    # --- load -----------------------------------------------------------------------------------------------

    def initialize_settings(self) -> None:
        """Prepares what needs no disk: who may speak, who hears of what, and where tools act."""
        server = self.server
        settings = server.web_app.settings
        # Taken out, so that no kernel and no tool inherits the password.
        self._told_database_url = os.environ.pop(DATABASE_URL, "")
        scrubbed = [*settings.get("extra_log_scrub_param_keys", ()), "chatKey", "lastEventId"]
        self.settings["extra_log_scrub_param_keys"] = settings["extra_log_scrub_param_keys"] = scrubbed
        # Two who were told the same one talk to the same gateway. It opens nothing, and is another after a restart.
        self.gateway_id = f"gw_{secrets.token_hex(10)}"
        self.redact = Redaction(lambda: [str(getattr(settings["identity_provider"], "token", "") or "")])
        install(server.log, self.redact)
        self.changes = Changes()
        self.client_tools = ClientTools()
        self.sockets = Sockets(self.max_pending_sockets, self.max_pending_sockets_per_address, self.max_sockets)
        tokens = KernelTokens(
            kernel_manager=server.kernel_manager,
            owner_of=lambda user: self.auth.owner_of(user),  # noqa: PLW0108 - there is no `auth` yet
            may_approve=self.allow_kernel_approvals,
            base_url=self._url_for_kernels,
        )
        self.auth = Auth(
            application=server.web_app,
            tokens=tokens,
            allow_cookies=cast(AllowCookies, self.allow_cookie_ws),
            inband_origins=tuple(self.inband_origins),
            kernels_may_approve=self.allow_kernel_approvals,
        )
        if not getattr(server, "gateway_config", None) or not server.gateway_config.gateway_enabled:
            tokens.install()
        self.environment = JupyterEnvironment(
            workspace=self.workspace_path,
            kernel_manager=server.kernel_manager,
            client_tools=self.client_tools,
            redact=self.redact,
            kernel_idle_s=self.kernel_idle_s,
        )
        self.changes.watch(self.environment.run_changed)
        self.changes.watch(self._note_activity)

    @property
    def server(self) -> ServerApp:
        """The server that this extension is part of."""
        return cast(ServerApp, self.serverapp)

    def initialize_handlers(self) -> None:
        self.handlers.extend(handlers(self))

    @property
    def workspace_path(self) -> Path:
        return Path(self.workspace or self.server.root_dir).expanduser().resolve()

    @property
    def folder(self) -> Path:
        """The data folder: as configured, or the workspace's own under Jupyter's data directory."""
        if self.data_folder:
            return Path(self.data_folder).expanduser().resolve()
        return workspace_folder(Path(jupyter_data_dir()), self.workspace_path)

    @property
    def tools_off_reason(self) -> str | None:
        """Why agents have no tools on this server, None where they have."""
        return TOOLS_OFF if self.auth.is_disabled and not self.allow_insecure_server else None

    def _url_for_kernels(self) -> str:
        """The server's base URL as its own kernels reach it."""
        server = self.server
        scheme = "https" if server.certfile else "http"
        return f"{scheme}://{_reachable(server.ip)}:{server.port}{server.base_url}"

    def _plan(self) -> Plan:
        reason = self.tools_off_reason
        return Plan(
            folder=self.folder,
            project=workspace_folder(Path(), self.workspace_path).name,
            workspace=self.workspace_path,
            config_dir=Path(self.config_dir),
            database_url=self.database_url or self._told_database_url,
            lease_ttl_s=self.lease_ttl_s,
            default_model=self.default_model,
            base_urls={name: dict(entry) for name, entry in self.base_urls.items()},
            prices={name: dict(entry) for name, entry in self.prices.items()},
            settings=RunnerSettings(
                budget=Budget(
                    turns=self.budget_turns,
                    tool_calls=self.budget_tool_calls,
                    seconds=self.budget_seconds,
                    tokens=self.budget_tokens,
                    cost=self.budget_cost,
                ),
                policy=self.policy,
                tools_enabled=reason is None,
                tools_off_reason=reason or "",
                approval_timeout_s=self.approval_timeout_s,
                input_timeout_s=self.input_timeout_s,
            ),
            flows={str(name): str(place) for name, place in self.flows.items()},
            retention=Limits(
                older_than=None if self.retention_days is None else timedelta(days=self.retention_days),
                larger_than=self.retention_bytes,
            ),
            results=ResultLimits(
                unused_for=None if self.workflow_results_days is None else timedelta(days=self.workflow_results_days),
                larger_than=self.workflow_results_bytes,
                flow_runs_for=None if self.flow_runs_days is None else timedelta(days=self.flow_runs_days),
            ),
            workflow_active_s=self.workflow_active_s,
            workflow_silent_s=self.workflow_silent_s,
            workflow_budget=WorkflowBudget(tokens=self.workflow_budget_tokens, cost=self.workflow_budget_cost),
            sweep_every_s=self.retention_every_s,
            reverify_every_s=self.reverify_every_s,
            stalled_after_s=self.stalled_after_s,
        )

    # --- start ----------------------------------------------------------------------------------------------

    async def _start_jupyter_server_extension(self, serverapp: ServerApp) -> None:  # noqa: ARG002 - Jupyter's hook
        self._open()
        self._beat = ioloop.PeriodicCallback(lambda: self._note_activity(None), 60_000)
        self._beat.start()

    def _open(self) -> None:
        self._tried_at = time.monotonic()
        self._opening = asyncio.get_running_loop().create_task(self._open_rooms())

    async def _open_rooms(self) -> None:
        """Opens the rooms. What goes wrong is kept and told to whoever asks: the Jupyter server itself is well."""
        try:
            self._rooms = await open_rooms(
                self._plan(), changes=self.changes, client_tools=self.client_tools, environment=self.environment
            )
            self._fault = None
            log.info("The agent gateway is open; its data is in %s.", self._rooms.storage.name)
        except AgentError as fault:
            self._fault = fault
            log.error("The agent gateway could not be opened: %s", fault.message)
        except Exception as bug:
            self._fault = StorageUnavailable(
                f"The agent gateway could not be opened ({type(bug).__name__}). The server's log says more."
            )
            log.exception("The agent gateway could not be opened.")

    async def ready(self) -> Rooms:
        """Returns the open rooms, waiting for them while the server starts. Raises StorageError saying what to do.

        What failed is tried again when somebody asks, so that room made on a disk needs no restart.
        """
        if self._is_stopping:
            raise StorageUnavailable("The server is shutting down. Connect again in a moment.")
        if self._rooms is not None:
            return self._rooms
        if self._opening is None or (self._opening.done() and time.monotonic() - self._tried_at > RETRY_OPENING_S):
            self._open()
        if self._opening is not None:
            await asyncio.wait({self._opening}, timeout=OPENING_S)
        opened = self._opened()
        if opened is not None:
            return opened
        raise self._fault or RateLimited("The agent gateway is still opening. Try again in a moment.")

    def _opened(self) -> Rooms | None:
        return self._rooms

    @property
    def rooms(self) -> Rooms:
        """The open rooms, for whoever has been through `ready`."""
        if self._rooms is None:
            raise StorageUnavailable("The agent gateway is not open.")
        return self._rooms

    async def find_fault(self) -> AgentError | None:
        """Returns why the gateway is not well, None where it is."""
        try:
            rooms = await self.ready()
        except AgentError as fault:
            return fault
        return rooms.storage.lines.fault

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document of this server."""
        return document(ROUTES, server=url_path_join(self.server.base_url, API))

    # --- activity and end -----------------------------------------------------------------------------------

    def current_activity(self) -> dict[str, int] | None:
        """Tells Jupyter how many runs are going on: it does not shut itself down meanwhile."""
        active = len(self._rooms.runner.active_run_ids) if self._rooms else 0
        return {"runs": active} if active else None

    def _note_activity(self, run: Run | None) -> None:
        """A server with active runs is not idle, though nobody may be looking."""
        if run is not None or self.current_activity():
            self.server.web_app.settings["last_activity_times"]["jupyter_agent"] = utcnow()

    async def stop_extension(self) -> None:
        """Sends clients away, lets runs go so that the next start takes them up, and closes everything."""
        self._is_stopping = True
        if beat := getattr(self, "_beat", None):
            beat.stop()
        for connection in tuple(self.sockets.connections):
            connection.leave(GOING_AWAY, "The server is shutting down; connect again.")
        if self._opening is not None and not self._opening.done():
            await asyncio.wait({self._opening}, timeout=DRAIN_S)
        if self._rooms is not None:
            try:
                async with asyncio.timeout(DRAIN_S + 3.0):
                    await self._rooms.close()
            except TimeoutError:
                log.warning("The agent gateway did not close in time; what is left is taken up at the next start.")
        log.info("The agent gateway is closed.")


def _reachable(ip: str) -> str:
    """The address at which kernels on this machine reach a server that listens on `ip`."""
    if ip in ("", "0.0.0.0", "*", "localhost"):  # noqa: S104 - compared, not bound to
        return "127.0.0.1"
    if ip == "::":
        return "[::1]"
    return f"[{ip}]" if ":" in ip else ip
