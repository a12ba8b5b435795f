"""What the engine tests run in other processes; importable there because conftest puts this folder on sys.path."""

import os
import signal
import sys
import time
from pathlib import Path

from plait.errors import DataError


def square(x):
    return x * x


def slow_first(x):
    """The earlier the shard, the longer it takes."""
    time.sleep(0.4 if x == 0 else 0.01)
    return x


def fail_at_two(x):
    if x == 2:
        raise ValueError(f"bad value {x}")
    return x


def plait_error_at_two(x):
    if x == 2:
        raise DataError("row 7 is broken", code="data.broken", where="a.jsonl:7", hint="mend it")
    return x


def die(x):
    if x[0] == 1:
        how = x[1]
        if how == "exit":
            os._exit(3)
        if how == "sys.exit":
            sys.exit(4)
        os.kill(os.getpid(), getattr(signal, how))
    time.sleep(0.05)
    return x


def die_twice(x):
    """Shard 1 is survived only when it is tried for the third time."""
    folder, index = x
    tries = Path(folder) / f"{index}.tries"
    with tries.open("a") as stream:
        stream.write("x")
    if index == 1 and tries.stat().st_size < 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return index


def sleep_and_tell(x):
    """Writes its pid, then works long."""
    folder, index = x
    (Path(folder) / f"{index}.pid").write_text(str(os.getpid()))
    time.sleep(60)


def double_in_place(array):
    array *= 2
    return array


def lambda_result(x):
    return lambda: x


def where(_):
    return os.getpid()


def threads(_):
    return os.environ.get("OMP_NUM_THREADS")


class Counter:
    def __init__(self, start=0):
        self.value = start
        self.seen = []

    def add(self, n):
        value = self.value
        time.sleep(0.001)
        self.value = value + n
        return self.value

    def note(self, item):
        self.seen.append(item)

    def notes(self):
        return self.seen

    def fail(self):
        raise KeyError("nothing here")

    def fail_plait(self):
        raise DataError("no rows", code="data.empty")

    def pid(self):
        return os.getpid()

    def die(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def sleep(self, seconds):
        time.sleep(seconds)


class Broken:
    def __init__(self, text):
        raise ValueError(text)

    def anything(self):
        return 1


def long_or_fail(x):
    """Shard 0 works long; shard 1 fails once it sees that."""
    _one_long(x, long=0)


def fail_or_long(x):
    """Shard 1 works long; shard 0 fails once it sees that."""
    _one_long(x, long=1)


def _one_long(x, long):
    folder, index = x
    if index == long:
        sleep_and_tell(x)
    while not (Path(folder) / f"{long}.pid").exists():
        time.sleep(0.01)
    time.sleep(0.1)
    raise ValueError("enough")
