"""REST of what waits for a person: approvals of tool calls, and questions."""

from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from tornado import web

from ..exceptions import ApprovalNotFound, InputNotFound, RunNotFound
from ..records import Approval, Decision, InputNeeded, Page
from ..runtime import Runner
from .rest import AgentHandler, authorized, operation

Reason = Annotated[str, Meta(max_length=4_000)]


class Verdict(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A decision, in the words of `tool_confirmation`. `arguments`, an object or its JSON text, replaces what the model
    asked; `remember` widens an approval to later calls of the same tool with the same effects."""

    approved: bool
    arguments: str | dict[str, Any] | None = None
    reason: Reason | None = None
    remember: Literal["run", "thread"] | None = None


class Answer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A person's answer to a question."""

    content: Annotated[str, Meta(max_length=256 * 1024)]


class RunApprovals(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:approvals")
    @operation("The approvals of a run, pending and decided, oldest first", answer=Page[Approval], faults=(404,))
    async def get(self, run_id: str) -> None:
        runner = (await self.rooms()).runner
        found = await runner.approvals(self.known(run_id, RunNotFound), by=self.principal)
        self.reply(Page(items=tuple(found)))


class OneApproval(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:approvals")
    @operation("An approval, also of a run that is over", answer=Approval, faults=(404,))
    async def get(self, approval_id: str) -> None:
        runner = (await self.rooms()).runner
        self.reply(await runner.find_approval(self.known(approval_id, ApprovalNotFound), by=self.principal))

    @web.authenticated
    @authorized(action="execute", resource="jupyter_agent:approvals")
    @operation("Decide; the first decision stands", body=Verdict, answer=Approval, faults=(403, 404, 409))
    async def post(self, approval_id: str) -> None:
        sent = self.sent(Verdict)
        rooms = await self.rooms()
        deed = partial(self._decide, self.known(approval_id, ApprovalNotFound), sent, rooms.runner)
        self.reply(await rooms.actions.once(self.key, self.principal, deed))

    async def _decide(self, approval_id: str, sent: Verdict, runner: Runner) -> Approval:
        asked = await runner.find_approval(approval_id, by=self.principal)
        arguments = sent.arguments
        if isinstance(arguments, dict):
            arguments = msgspec.json.encode(arguments).decode()
        decision = Decision.REJECT
        if sent.approved:
            decision = Decision.APPROVE if arguments is None else Decision.EDIT
        return await runner.resolve(
            asked.run_id,
            decision=decision,
            by=self.principal,
            approval_id=approval_id,
            arguments=arguments if sent.approved else None,
            reason=sent.reason,
            remember=sent.remember,
        )


class RunInputs(AgentHandler):
    @web.authenticated
    @authorized(action="read", resource="jupyter_agent:inputs")
    @operation("The open questions of a run, oldest first", answer=Page[InputNeeded], faults=(404,))
    async def get(self, run_id: str) -> None:
        rooms = await self.rooms()
        run = await rooms.actions.get_run(self.known(run_id, RunNotFound), by=self.principal)
        found = () if run.status.is_terminal else (await rooms.journal.load(run_id)).pending_inputs
        self.reply(Page(items=tuple(found)))


class OneInput(AgentHandler):
    @web.authenticated
    @authorized(action="execute", resource="jupyter_agent:inputs")
    @operation("Answer a question of a run", body=Answer, status=204, faults=(404, 409))
    async def post(self, run_id: str, request_id: str) -> None:
        sent = self.sent(Answer)
        rooms = await self.rooms()
        named = self.known(run_id, RunNotFound), self.known(request_id, InputNotFound)
        deed = partial(rooms.runner.answer, *named, sent.content, by=self.principal)
        await rooms.actions.once(self.key, self.principal, deed)
        self.reply(None, 204)
