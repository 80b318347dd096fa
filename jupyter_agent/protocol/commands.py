"""What a client says: commands over the socket, and the bodies of the REST requests that mean the same.

The first six commands are what third-party clients already speak. Every command may carry a `clientId`: the same one
twice acts once.
"""

import json
from typing import Final, Literal

import msgspec
from msgspec import Struct

from ..exceptions import InvalidRequest
from ..records import MAX_DEPTH, RunRequest, is_deeper_than

MAX_AUTH_BYTES: Final = 4 * 1024
MAX_FRAME_BYTES: Final = 1024 * 1024


Channel = Literal["text", "tool_call", "tool_result", "status", "error", "trace", "workflow"]
"""What a follower can ask for instead of everything."""


class Command(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag_field="type"):
    """Base of the commands. Unknown fields are ignored: other clients may send more."""

    client_id: str | None = None


class Auth(Command, frozen=True, kw_only=True, tag="auth"):
    token: str


class Heartbeat(Command, frozen=True, kw_only=True, tag="heartbeat"):
    pass


class Resume(Command, frozen=True, kw_only=True, tag="resume"):
    last_event_id: str


class Interrupt(Command, frozen=True, kw_only=True, tag="interrupt"):
    """Stops a run: the socket's own (`chatKey`), or the one named. With `if_queued` only one that waits for its turn:
    one that has begun goes on, and the command fails."""

    run_id: str | None = None
    if_queued: bool = False


class ToolConfirmation(Command, frozen=True, kw_only=True, tag="tool_confirmation"):
    """Decides an approval. `arguments` is JSON text that replaces what the model asked; `remember` widens an approval
    to later calls of the same tool with the same effects, in this run or thread."""

    tool_call_id: str
    approved: bool
    approval_id: str | None = None
    run_id: str | None = None
    arguments: str | None = None
    reason: str | None = None
    remember: Literal["run", "thread"] | None = None


class UserInput(Command, frozen=True, kw_only=True, tag="user_input"):
    request_id: str
    content: str
    run_id: str | None = None


class Follow(Command, frozen=True, kw_only=True, tag="follow"):
    """Follows a run from after `last_event_id`; `run_id` "*" follows the status changes of all one's runs.

    `tools` names client tools of this run that this socket can carry out (and `run_cell`, when the client is the
    waiting cell).
    """

    run_id: str
    last_event_id: str | None = None
    channels: tuple[Channel, ...] | None = None
    tools: tuple[str, ...] = ()


class Unfollow(Command, frozen=True, kw_only=True, tag="unfollow"):
    run_id: str


class StartRun(RunRequest, frozen=True, kw_only=True, tag_field="type", tag="start_run"):
    """Starts a run over the socket; the `ack` carries the run. The starting socket follows it when `follow` is true."""

    client_id: str | None = None
    follow: bool = True


class ClientToolResult(Command, frozen=True, kw_only=True, tag="client_tool_result"):
    """Answers a `client_tool_call`. `mime` maps MIME types of rich results to base64 or text."""

    run_id: str
    tool_call_id: str
    result: str
    is_error: bool = False
    mime: dict[str, str] = {}


class ClientToolProgress(Command, frozen=True, kw_only=True, tag="client_tool_progress"):
    """Output of a client tool while it works."""

    run_id: str
    tool_call_id: str
    content: str


AnyCommand = (
    Auth
    | Heartbeat
    | Resume
    | Interrupt
    | ToolConfirmation
    | UserInput
    | Follow
    | Unfollow
    | StartRun
    | ClientToolResult
    | ClientToolProgress
)

_decoder: msgspec.json.Decoder[AnyCommand] = msgspec.json.Decoder(AnyCommand)


def parse_command(text: str | bytes) -> AnyCommand:
    """Returns the command of a frame. Raises InvalidRequest naming what is wrong with it."""
    try:
        command = _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
        raise InvalidRequest(f"That frame is no command of this protocol: {fault}.") from fault
    if isinstance(command, StartRun):
        parameters = [tool.parameters for tool in command.client_tools]
        if any(is_deeper_than(MAX_DEPTH, it) for it in (command.metadata, command.kwargs, command.script, parameters)):
            raise InvalidRequest(f"What starts the run is nested deeper than {MAX_DEPTH} levels: flatten it.")
    return command


def parse_auth(text: str | bytes) -> Auth:
    """Returns the auth command of a first frame. Raises InvalidRequest for anything else, and for a token given
    twice."""
    if len(text) > MAX_AUTH_BYTES:
        raise InvalidRequest(f"The first frame is longer than {MAX_AUTH_BYTES} bytes.")
    command = parse_command(text)
    if not isinstance(command, Auth):
        raise InvalidRequest("The first frame must be of type 'auth'.")
    keys = [key for key, _ in json.loads(text, object_pairs_hook=list)]
    if len(keys) != len(set(keys)):
        raise InvalidRequest("The auth frame names a field twice.")
    return command
