"""A run's turn and its active time, by a clock of our own."""

import asyncio

import pytest

from jupyter_agent.workflow.active_time import Turn


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_time_counts_only_while_there_is_a_turn():
    clock = Clock()
    turn = Turn(asyncio.Semaphore(1), allowed_s=10.0, spent_s=1.0, clock=clock)
    assert turn.is_waiting
    await turn.work()
    await turn.work()
    clock.now += 3
    assert (turn.spent_s, turn.is_waiting) == (4.0, False)
    turn.wait()
    clock.now += 1_000_000
    assert (turn.spent_s, turn.is_waiting) == (4.0, True)
    turn.wait()


async def test_who_waits_for_people_is_in_nobodys_way():
    turns = asyncio.Semaphore(1)
    first, second = (Turn(turns, allowed_s=None) for _ in range(2))
    await asyncio.gather(first.work(), first.work())
    going = asyncio.create_task(second.work())
    await asyncio.sleep(0)
    assert not going.done()
    assert not second.is_waiting
    first.wait()
    await asyncio.wait_for(going, 10)
    back = [asyncio.create_task(first.work()) for _ in range(3)]
    await asyncio.sleep(0)
    second.wait()
    await asyncio.wait_for(asyncio.gather(*back), 10)
    first.wait()
    assert not turns.locked()


async def test_the_watch_notices_waiting_and_says_when_the_time_is_up():
    clock, waits, told = Clock(), [True], asyncio.Event()
    turn = Turn(asyncio.Semaphore(1), allowed_s=10.0, clock=clock)
    watching = asyncio.create_task(turn.watch(lambda: waits[0], told.set))
    await turn.work()
    await asyncio.wait_for(told.wait(), 10)
    assert turn.is_waiting
    clock.now += 50
    waits[0] = False
    await turn.work()
    clock.now += 20
    fault = await asyncio.wait_for(watching, 10)
    assert fault.details == {"limit": "active_s", "allowed": 10.0, "used": pytest.approx(20.0)}
    assert "worked for its 10 seconds" in fault.message
