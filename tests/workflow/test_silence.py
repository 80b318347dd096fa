"""Scripts whose calls say nothing for long: whoever follows them is told."""

from jupyter_agent.records import RunStatus
from tests.runtime.conftest import ALICE
from tests.workflow.actors import staged


async def test_whoever_follows_a_script_is_told_once_that_a_call_is_stalled(tmp_path):
    async with staged(tmp_path, silent_after_s=0.3) as stage:
        stage.actor.play = lambda prompt: [{"text": prompt, "wait_s": 2 if prompt == "Take your time." else 0}]
        stage.write("slow", 'await agent("Be quick.")\nawait agent("Take your time.", label="survey")\n')
        run = await stage.run("slow")
        assert (run.status, run.result) == (RunStatus.COMPLETED, "Take your time.")
        events = await stage.headless.events(run.workflow_run_id, by=ALICE)
        (said,) = [event.text for event in events if event.type == "log" and "survey" in event.text]
        assert said.startswith("Nothing has come of 'survey' since ")
        assert said.endswith(" UTC: it is stalled.")
