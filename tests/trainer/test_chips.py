"""The table of accelerators: names as drivers give them, found or honestly unknown."""

from __future__ import annotations

import pytest

from trainer.chips import apple, nvidia


@pytest.mark.parametrize(
    ("name", "listed", "cores", "bandwidth_gb_s"),
    [
        ("NVIDIA H100 80GB HBM3", "H100 SXM", 132, 3352),
        ("NVIDIA H100 PCIe", "H100 PCIe", 114, 2039),
        ("NVIDIA H100 NVL", "H100 NVL", 132, 3938),
        ("NVIDIA H200", "H200 SXM", 132, 4800),
        ("NVIDIA B200", "B200", 148, 8000),
        ("NVIDIA GB10", "GB10", 48, 273),
        ("NVIDIA A100-SXM4-40GB", "A100 40GB SXM", 108, 1555),
        ("NVIDIA A100-SXM4-80GB", "A100 80GB SXM", 108, 2039),
        ("NVIDIA A100 80GB PCIe", "A100 80GB PCIe", 108, 1935),
        ("NVIDIA GeForce RTX 4090", "RTX 4090", 128, 1008),
        ("NVIDIA GeForce RTX 3090 Ti", "RTX 3090 Ti", 84, 1008),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada", 142, 960),
        ("NVIDIA L40S", "L40S", 142, 864),
    ],
)
def test_a_drivers_name_finds_the_board(
    name: str, listed: str, cores: int, bandwidth_gb_s: float
) -> None:
    """An H100 in a PCIe slot has three quarters of the module's speed; their names tell them
    apart, though only one of them names its form."""
    chip = nvidia(name)
    assert chip is not None
    assert (chip.name, chip.cores, chip.bandwidth_gb_s) == (listed, cores, bandwidth_gb_s)


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 4080 SUPER",
        "Tesla T4",
        "A100X",
        "",
    ],
)
def test_a_similar_name_is_another_chip(name: str) -> None:
    """A laptop's 4090 has 60% of the desktop card's cores: better measured than guessed."""
    assert nvidia(name) is None


def test_only_the_spark_shares_its_memory() -> None:
    """Batches sized to 0.9 of a memory that the system lives in, too, would swap."""
    spark, card = nvidia("NVIDIA GB10"), nvidia("NVIDIA H200")
    assert spark is not None
    assert card is not None
    assert spark.unified
    assert not card.unified


@pytest.mark.parametrize(
    ("brand", "gpu_cores", "tier", "bandwidth_gb_s"),
    [
        ("Apple M1", 7, "base", 68.3),
        ("Apple M1 Ultra", 64, "ultra", 800),
        ("Apple M2 Pro", 16, "pro", 200),
        ("Apple M3 Max", 30, "max", 300),
        ("Apple M3 Max", 40, "max", 400),
        ("Apple M4 Max", 32, "max", 410),
        ("Apple M4 Max", None, "max", 546),
        ("Apple M5", 10, "base", 153),
        ("Apple M5 Max", 40, "max", 614),
    ],
)
def test_apples_tiers(brand: str, gpu_cores: int | None, tier: str, bandwidth_gb_s: float) -> None:
    """Two chips of one name differ by a third in memory bandwidth."""
    chip = apple(brand, gpu_cores)
    assert chip is not None
    assert (chip.tier, chip.bandwidth_gb_s, chip.unified) == (tier, bandwidth_gb_s, True)
    assert "estimated" in chip.source


def test_peaks_of_apple_chips_are_what_others_measured() -> None:
    """2.6 TFLOP/s on an M1 and 10.6 on an M1 Max (metal-benchmarks)."""
    small, large = apple("Apple M1", 8), apple("Apple M1 Max", 32)
    assert small is not None
    assert large is not None
    assert small.bfloat16_tflop_s == pytest.approx(2.6, abs=0.1)
    assert large.bfloat16_tflop_s == pytest.approx(10.6, abs=0.2)


def test_a_chip_that_is_newer_than_the_table_is_unknown() -> None:
    """And an Intel Mac has none."""
    assert apple("Apple M6 Pro", 20) is None
    assert apple("Intel(R) Core(TM) i7-8750H CPU @ 2.20GHz") is None
