from __future__ import annotations

import asyncio
import heapq
import itertools


class FakeClock:
    """Time that passes only when everyone sleeps; for code that waits for nothing else."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.slept: list[float] = []
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.time + seconds, next(self._order), woken))
        await woken

    def run(self, main):
        """Run a coroutine that waits for nothing but this clock."""

        async def drive():
            task = asyncio.ensure_future(main)
            while True:
                for _ in range(100):
                    await asyncio.sleep(0)
                if task.done():
                    return task.result()
                while self._sleepers and self._sleepers[0][2].done():
                    heapq.heappop(self._sleepers)
                assert self._sleepers, "everyone waits and nobody sleeps: a deadlock"
                until, _, woken = heapq.heappop(self._sleepers)
                self.time = max(self.time, until)
                woken.set_result(None)

        return asyncio.run(drive())
