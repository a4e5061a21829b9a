"""What real machines print, and what is made of it. The texts are those of public reports."""

from __future__ import annotations

import sys

import pytest

from trainer import system

H100 = "NVIDIA H100 80GB HBM3, 9.0, 81559, 550.90.07\n" * 2
SPARK = "NVIDIA GB10, 12.1, [N/A], 580.126.09"
GPU_OF_AN_M4_MAX = """
+-o AGXAcceleratorG16X  <class AGXAcceleratorG16X, id 0x1000004d0, registered, matched, active>
    {
      "IOClass" = "AGXAcceleratorG16X"
      "model" = "Apple M4 Max"
      "gpu-core-count" = 40
      "vendor-id" = <6b100000>
    }
"""
EPYC = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 17\nmodel name\t: AMD EPYC 9354\n"
ARM = "processor\t: 0\nBogoMIPS\t: 2000.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd85\n"
LSCPU_OF_A_SPARK = """
Architecture:                aarch64
CPU(s):                      20
Vendor ID:                   ARM
  Model name:                Cortex-X925
    Model:                   1
    Core(s) per socket:      10
  Model name:                Cortex-A725
    Model:                   1
"""
LSCPU_OF_A_VIRTUAL_MAC = "Vendor ID:                Apple\n  Model name:             -\n"


def says(text: str) -> system.Ask:
    """A tool that prints this, whatever it is asked."""
    return lambda *argv: text.strip()


def test_every_gpu_of_a_server_is_listed() -> None:
    """Two GPUs, each with its memory in MiB."""
    first, second = system.nvidia_gpus(says(H100))
    assert first == second
    assert (first.name, first.memory_mib, first.driver) == (
        "NVIDIA H100 80GB HBM3",
        81559,
        "550.90.07",
    )


def test_a_gpu_without_memory_of_its_own_is_not_a_crash() -> None:
    """Six and more public tools die of the GB10's `[N/A]`."""
    (gpu,) = system.nvidia_gpus(says(SPARK))
    assert (gpu.memory_mib, gpu.compute_capability) == (None, "12.1")


@pytest.mark.parametrize("text", ["", "No devices were found", "Unable to determine the device"])
def test_no_gpu_is_an_empty_list(text: str) -> None:
    """The tool is missing, or speaks of trouble on standard output."""
    assert system.nvidia_gpus(says(text)) == ()


def test_cores_of_an_apple_gpu() -> None:
    """None where `ioreg` does not exist, as on Linux."""
    assert system.apple_gpu_cores(says(GPU_OF_AN_M4_MAX)) == 40
    assert system.apple_gpu_cores(says("")) is None


@pytest.mark.parametrize(
    ("platform", "tool", "cpuinfo", "name"),
    [
        ("linux", "", EPYC, "AMD EPYC 9354"),
        ("linux", LSCPU_OF_A_SPARK, ARM, "Cortex-X925 + Cortex-A725"),
        ("darwin", "Apple M4 Max", "", "Apple M4 Max"),
    ],
)
def test_the_processors_name(platform: str, tool: str, cpuinfo: str, name: str) -> None:
    """Evidence is filed under it. Python's own `platform` calls every Mac "arm"."""
    assert system._cpu_model(says(tool), platform, cpuinfo) == name


def test_a_processor_that_no_tool_names_still_has_one() -> None:
    """A virtual machine on a Mac: the key must not be empty."""
    assert system._cpu_model(says(LSCPU_OF_A_VIRTUAL_MAC), "linux", ARM).strip()


def test_a_missing_and_a_failing_tool_have_said_nothing() -> None:
    """Neither is an error: it is only nice to know."""
    assert system.ask("no-such-tool-anywhere") == ""
    assert system.ask(sys.executable, "-c", "print('half'); raise SystemExit(1)") == ""
    assert system.ask(sys.executable, "-c", "print('whole')") == "whole"
