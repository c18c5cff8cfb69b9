"""How often players that failed are started again: ML-Agents' limits, for each player by itself."""

import time
from collections import defaultdict, deque
from collections.abc import Callable

from trainers.config import EnvironmentSettings


class RestartLimits:
    """`max_lifetime_restarts` in a run, `restarts_rate_limit_n` within `restarts_rate_limit_period_s`; -1: no limit."""

    def __init__(self, settings: EnvironmentSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._restarts: defaultdict[int, int] = defaultdict(int)
        self._recent: defaultdict[int, deque[float]] = defaultdict(deque)

    def exhausted(self, player: int) -> str | None:
        """Why the player may not be started again, None if it may; then it counts as started."""
        settings, now, recent = self._settings, self._clock(), self._recent[player]
        while recent and now - recent[0] > settings.restarts_rate_limit_period_s:
            recent.popleft()
        most, rate = settings.max_lifetime_restarts, settings.restarts_rate_limit_n
        if 0 <= most <= self._restarts[player]:
            return f"it has had its {most} restart{'' if most == 1 else 's'}; --max-lifetime-restarts allows more"
        if 0 <= rate <= len(recent):
            seconds = settings.restarts_rate_limit_period_s
            return (
                f"it has had {rate} restart{'' if rate == 1 else 's'} within {seconds} s; "
                "--restarts-rate-limit-n allows more"
            )
        self._restarts[player] += 1
        recent.append(now)
        return None
