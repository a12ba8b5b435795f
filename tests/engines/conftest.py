"""Both engines, as one fixture; Ray is started once for all tests."""

import sys
import warnings
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from plait.engines import LocalEngine


@pytest.fixture(scope="session")
def ray_engine():
    pytest.importorskip("ray")
    from plait.engines import RayEngine

    with warnings.catch_warnings():
        # Ray announces a coming change of a default that does not concern us.
        warnings.filterwarnings("ignore", message=".*RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO.*", category=FutureWarning)
        engine = RayEngine(workers=2)
    with engine:
        yield engine


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.ray)])
def engine(request):
    if request.param == "ray":
        yield request.getfixturevalue("ray_engine")
    else:
        with LocalEngine(workers=2) as engine:
            yield engine


@pytest.fixture
def gone():
    """Wait until a process has ended."""

    def wait_gone(pid, timeout=10.0):
        try:
            psutil.Process(pid).wait(timeout)
        except psutil.NoSuchProcess:
            return True
        except psutil.TimeoutExpired:
            return False
        return True

    return wait_gone
