"""What all tests share: nothing of the user's own cache, results or threads is touched."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.isolation import FORCE, NONE
from trainer.hardware import usable_cores

if TYPE_CHECKING:
    from lab.metal_sim import Builds

os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(autouse=True)
def _own_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results and cache of a test lie in its own temporary folder."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("KERNEL_LAB_RESULTS", str(folder / "results"))
    if "KERNEL_LAB_TEST_CACHE" not in os.environ:
        monkeypatch.setenv("KERNEL_LAB_CACHE", str(folder / "cache"))


@functools.cache
def missing_sandbox() -> str:
    """Why no sandbox works on this machine; empty where one does."""
    from lab.harness.sandbox import NoSandbox, isolation

    try:
        isolation()
    except NoSandbox as error:
        return error.message
    return ""


@pytest.fixture(scope="session", autouse=True)
def _workers_run_somewhere() -> None:
    """Where no sandbox works, workers run in `none`: what a worker answers can be tested there."""
    if missing_sandbox():
        os.environ[FORCE] = NONE


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """All tests run in one process per core. Some of them run in this one, where a debugger works,
    and so do those for a device, which there is one of."""
    everything = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    one_device = config.option.markexpr in ("gpu", "apple")
    return usable_cores() if everything and not one_device else 0


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says what such a machine has not tested."""
    if os.environ.get(FORCE) == NONE:
        terminalreporter.write_line(f"NO SANDBOX WAS TESTED: {missing_sandbox() or FORCE}")


@pytest.fixture(scope="session")
def _folder_of_builds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the simulator compiles of its own is made once for all tests."""
    from trainer.files import cache_folder

    if sys.platform != "linux" or os.uname().machine != "x86_64":
        pytest.skip("the Metal simulator runs on Linux with an x86-64 CPU only")
    if "KERNEL_LAB_TEST_CACHE" in os.environ:
        return cache_folder() / "metal_sim"
    return tmp_path_factory.mktemp("builds")


@pytest.fixture
def kept_builds(_folder_of_builds: Path) -> None:
    """For tests that start the simulator through the harness: its cache is that folder."""
    if "KERNEL_LAB_TEST_CACHE" not in os.environ:
        cache = Path(os.environ["KERNEL_LAB_CACHE"])
        cache.mkdir()
        (cache / "metal_sim").symlink_to(_folder_of_builds)


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of the repository."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def builds(_folder_of_builds: Path) -> Builds:
    """The same folder, for tests that call the simulator themselves.

    The compiler of the extra `sim`, which the dev group installs: without it, these fail.
    """
    from lab.metal_sim import Builds

    return Builds(_folder_of_builds)
