"""Carries out runs: the agent loop, its runner, approvals, policy and budget."""

from .leaseholder import Leaseholder as Leaseholder
from .runner import Runner as Runner
from .settings import RunnerSettings as RunnerSettings
