"""`doctor`'s hardware lines and proposals, on machines that we do not have."""

from __future__ import annotations

import pytest

from lab import hardware, roofline
from lab.hardware import Accelerator
from lab.proposal import memory_gib, propose, steps_in_budget
from trainer.config import PRESETS, override
from trainer.system import Ask

MEASURED = roofline.Roofline(((2**18, 200.0), (2**28, 20.0)), {"float32": 160.0, "bfloat16": 40.0})


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores of a server, whatever these tests run on."""
    monkeypatch.setattr(roofline, "measure", lambda engine: MEASURED)
    monkeypatch.setattr(hardware, "memory_gib", lambda: 121.0)


def machine(**answers: str) -> Ask:
    """The tools of a machine by their first word, or the last word of `sysctl`."""

    def ask(*argv: str) -> str:
        return answers.get(argv[-1] if argv[0] == "sysctl" else argv[0].replace("-", "_"), "")

    return ask


def mac(brand: str, cores: int, gib: int) -> Ask:
    return machine(
        **{
            "machdep.cpu.brand_string": brand,
            "hw.memsize": str(gib * 2**30),
            "ioreg": f'"gpu-core-count" = {cores}',
        }
    )


def only(ask: Ask, platform: str = "linux") -> Accelerator:
    accelerator, cpu = hardware.look(ask, platform)
    assert cpu.engine == "cpu"
    return accelerator


def test_a_mac_tells_its_tier_and_where_each_number_is_from() -> None:
    """Apple publishes bandwidth and no peak: the line must not pass a guess off as a fact."""
    line = str(only(mac("Apple M4 Max", 40, 128), "darwin"))
    assert "max tier, 40 GPU cores, 128 GiB shared with the CPU" in line
    assert "546 GB/s (data sheet)" in line
    assert "(estimated from cores and clock)" in line


def test_a_spark_has_the_machines_memory() -> None:
    """Its driver answers [N/A]."""
    spark = only(machine(nvidia_smi="NVIDIA GB10, 12.1, [N/A], 580.126.09"))
    assert (spark.memory_gib, spark.unified, spark.cores) == (121.0, True, 48)


def test_a_card_that_is_not_listed_and_not_usable_says_so() -> None:
    """A driver without a CUDA build of torch: no number is better than one of another card."""
    card = only(machine(nvidia_smi="NVIDIA GeForce RTX 9090, 13.0, 49152, 700.1"))
    assert card.bandwidth_gb_s == 0
    assert "cannot measure" in str(card)
    assert propose(card) is None


def test_a_cpu_is_measured() -> None:
    """Nobody lists the memory channels of a rented core."""
    (cpu,) = hardware.look(machine(), "linux")
    assert (cpu.bandwidth_gb_s, cpu.peak_tflop_s, cpu.peak_source) == (20.0, 0.16, "measured")


@pytest.mark.parametrize(
    ("brand", "cores", "gib", "preset"),
    [
        ("Apple M1", 8, 8, "m5-small"),
        ("Apple M1 Pro", 16, 16, "m5-balanced"),
        ("Apple M4 Max", 40, 128, "m5-xlarge"),
    ],
)
def test_a_larger_mac_gets_a_larger_model(brand: str, cores: int, gib: int, preset: str) -> None:
    """With enough steps for Muon's momentum, in memory that it shares."""
    accelerator = only(mac(brand, cores, gib), "darwin")
    proposal = propose(accelerator)
    assert proposal is not None
    assert proposal.preset == preset
    assert proposal.steps >= 300
    assert proposal.memory_gib <= 0.6 * gib


@pytest.mark.parametrize(
    ("line", "device_batch_size", "total_batch_size"),
    [
        ("NVIDIA H100 80GB HBM3, 9.0, 81559, 550.90.07", 128, 2**19),
        ("NVIDIA A100-SXM4-40GB, 8.0, 40960, 550.90.07", 64, 2**18),
        ("NVIDIA GeForce RTX 4090, 8.9, 24564, 550.90.07", 32, 2**18),
    ],
)
def test_a_smaller_card_gets_smaller_batches(
    line: str, device_batch_size: int, total_batch_size: int
) -> None:
    """Upstream's own sizes are for an H100; others run out of memory or of steps with them."""
    proposal = propose(only(machine(nvidia_smi=line)))
    assert proposal is not None
    assert proposal.preset == "upstream"
    assert proposal.config.device_batch_size == device_batch_size
    assert proposal.config.total_batch_size == total_batch_size
    assert f"--total-batch-size {total_batch_size}" in proposal.command


def test_predictions_meet_what_upstream_published() -> None:
    """953 steps in five minutes and 45,060 MiB, on an H100 with the `upstream` preset."""
    h100 = only(machine(nvidia_smi="NVIDIA H100 80GB HBM3, 9.0, 81559, 550.90.07"))
    assert steps_in_budget(PRESETS["upstream"], h100) == pytest.approx(953, rel=0.05)
    assert memory_gib(PRESETS["upstream"], "cuda") * 1024 == pytest.approx(45060, rel=0.05)


@pytest.mark.parametrize(
    ("preset", "device_batch_size", "peak_mib"),
    [("tour", 4, 1020), ("m5-small", 8, 2544), ("m5-balanced", 4, 3415), ("m5-xlarge", 1, 3152)],
)
def test_predictions_meet_what_was_measured(
    preset: str, device_batch_size: int, peak_mib: float
) -> None:
    """Peaks of the torch engine on two cores of an EPYC."""
    config = override(PRESETS[preset], {"device_batch_size": device_batch_size})
    assert memory_gib(config, "cpu") * 1024 == pytest.approx(peak_mib, rel=0.07)


def test_a_machine_that_is_too_small_gets_no_proposal() -> None:
    """A command that dies of memory after a minute is worse than none."""
    tiny = Accelerator("cpu", "a small board", 1, 0.5, True, 2.0, 0.001, "measured", "measured")
    assert propose(tiny) is None
