"""Carries out runs: the agent loop, its runner, approvals, policy and budget."""

from .runner import Runner as Runner
from .settings import RunnerSettings as RunnerSettings
