"""Bench: the same is the same, slower is slower, and what cannot be true is quarantined.

Most workers here live in this process (see in_process.py); the null test, the slowed copy and the
deferred work run in real ones.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from in_process import InProcess, bench_in_process

from kernels.spec import Case, TargetFolder
from lab.errors import CommandError, MachineError
from lab.harness import BenchSettings, bench, clocks, forms, inputs, timing
from lab.harness.clocks import Block, trouble
from lab.harness.inputs import Layout
from lab.harness.pace import Pace
from lab.outcomes import CaseTiming, Failed, Interval, Measured, Quarantined, Telemetry

Outcome = Measured | Quarantined | Failed
QUICK = Pace(block_ms=1.0, most_slots=4, rounds=6, least_rounds=6, generations=2)
REAL = Pace(block_ms=20.0, rounds=6, least_rounds=6, generations=3, gain=2.0)
"""Three generations say little, so only large effects are asked about."""
ALONE = Pace(block_ms=20.0, rounds=12, least_rounds=12, generations=1)
"""For what shows in one generation of workers: starting them is most of a test's time."""
TRIES = 3

NORM = "torch.nn.functional.rms_norm(x, (x.shape[-1],), eps=eps)"


def write(folder: Path, text: str) -> Path:
    path = folder / "submitted.py"
    path.write_text(text)
    return path


def candidate(folder: Path, line: str, before: str = "") -> Path:
    """The incumbent's norm `y`, and one line about it."""
    text = f"import torch\n{before}\ndef toynorm(x, eps):\n    y = {NORM}\n    {line}\n"
    return write(folder, text)


def train_cases(toy: TargetFolder) -> tuple[Case, ...]:
    return toy.target.train_cases(None)  # type: ignore[arg-type]


# ---- real workers -------------------------------------------------------------------------------


def on_a_quiet_moment(
    file: Path, toy: TargetFolder, incumbent: Path | None = None, pace: Pace = REAL
) -> Outcome:
    """A bench with real workers. Where it says that the machine was too noisy, again."""
    settings = BenchSettings(pace=pace)
    for _ in range(TRIES):
        outcome = bench(
            file, toy, train_cases(toy), engine="cpu", incumbent=incumbent, settings=settings
        )
        if not (isinstance(outcome, Quarantined) and outcome.by_machine):
            break
    return outcome


@pytest.mark.timeout(900)
def test_the_incumbent_against_itself_is_no_faster(toy: TargetFolder) -> None:
    """If the same code can win, every number of the bench is worthless."""
    outcome = on_a_quiet_moment(toy.incumbent("torch"), toy)
    assert isinstance(outcome, Measured), outcome
    for interval in (outcome.speedup, outcome.control):
        assert interval.low < 1.1
        assert interval.high > 0.9
    (case,) = outcome.cases
    assert case.dtype == "float32", "what training uses on a CPU"
    assert len(case.incumbent_ms) == len(case.candidate_ms) == len(case.control_ms) == 18
    assert case.generation == (0,) * 6 + (1,) * 6 + (2,) * 6
    assert case.calls_per_block > 1
    assert len(case.telemetry.others_cpu) == 18, "what else ran in each round"


@pytest.mark.timeout(900)
def test_a_slowed_copy_is_slower(toy: TargetFolder, tmp_path: Path) -> None:
    """The sign, and the size roughly: it does the same work eight times."""
    slow = candidate(tmp_path, f"for _ in range(7): {NORM}.sum()\n    return y")
    outcome = on_a_quiet_moment(slow, toy)
    assert isinstance(outcome, Measured), outcome
    assert outcome.speedup.high < 0.9
    assert outcome.control.low < 1.1
    assert outcome.control.high > 0.9


LATER = """
import torch
pending = []
class Op(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, eps):
        ctx.save_for_backward(x)
        ctx.eps = eps
        y = torch.empty_like(x)
        pending.append((x.detach().clone(), eps, y))
        return y
    @staticmethod
    def backward(ctx, g):
        x, = ctx.saved_tensors
        scale = (x.square().mean(-1, keepdim=True) + ctx.eps).rsqrt()
        y = x * scale
        return (g - y * (g * y).mean(-1, keepdim=True)) * scale, None
honest_copy = torch.Tensor.copy_
def copy_(self, other, *more):
    while pending:
        x, eps, y = pending.pop()
        for _ in range(40):
            result = torch.nn.functional.rms_norm(x.detach(), (x.shape[-1],), eps=eps)
        honest_copy(y.detach(), result)
    return honest_copy(self, other, *more)
torch.Tensor.copy_ = copy_
def toynorm(x, eps):
    return Op.apply(x, eps)
"""
SLOW_INCUMBENT = f"""
import torch
def toynorm(x, eps):
    with torch.no_grad():
        for _ in range(40):
            {NORM}
    return {NORM}
"""


def test_work_that_is_put_off_until_after_the_answer_is_found(
    toy: TargetFolder, tmp_path: Path
) -> None:
    """Laziness looks fast on the clock that decides, and is paid for in training."""
    later = write(tmp_path, LATER)
    slow = tmp_path / "incumbent.py"
    slow.write_text(SLOW_INCUMBENT)
    outcome = on_a_quiet_moment(later, toy, slow, ALONE)
    assert isinstance(outcome, Quarantined), outcome
    assert outcome.reason == "clock_mismatch"
    assert "put off" in outcome.detail, outcome.detail
    assert len(outcome.cases) == 1, "the raw samples are kept"


def test_what_is_done_while_inputs_are_brought_is_never_free(toy: TargetFolder) -> None:
    """On the CPU nothing needs to be brought, so the clock runs; elsewhere it counts as handing
    over."""
    (case,) = train_cases(toy)
    layout = Layout.of(toy.target, case, "float32")
    given = inputs.pack(layout, [inputs.draw(toy.target, case, "float32", inputs.generator())])
    with InProcess(toy.incumbent("torch"), toy.id, layout.slot_bytes) as session:
        session.prepare()
        session.arrange(layout, 1)
        load = session._process.worker.load
        session._process.worker.load = lambda slots: time.sleep(0.05) or load(slots)  # type: ignore[method-assign]
        answers = forms.exchange(session, given, differentiate=True)
        assert answers.timed.judge_ns >= 50_000_000
        session._engine = "cuda"
        answers = forms.exchange(session, given, differentiate=True)
    assert answers.timed.load_ns >= 50_000_000
    assert answers.fetch_ns > answers.timed.load_ns


@pytest.mark.parametrize("how", [forms.exchange_timed, forms.exchange_one_by_one])
def test_nothing_is_left_to_compute_from_once_the_calls_are_answered(
    toy: TargetFolder, how: timing.Exchange
) -> None:
    """Handing over copies results, so who computes them only then, or wrote them where they are
    read, had that time for free: six calls in ten of relu_squared were put off unseen."""
    (case,) = train_cases(toy)
    layout = Layout.of(toy.target, case, "float32")
    contents = [inputs.draw(toy.target, case, "float32", inputs.generator()) for _ in range(2)]
    given = inputs.pack(layout, contents)
    with InProcess(toy.incumbent("torch"), toy.id, 2 * layout.slot_bytes) as session:
        session.prepare()
        session.arrange(layout, 2)
        seen: list[torch.Tensor] = []
        fetch = session._process.worker.fetch

        def looks_first() -> dict[str, object]:
            seen.extend((session.read_given(2), session.read_results(2)))
            return fetch()

        session._process.worker.fetch = looks_first  # type: ignore[method-assign]
        answers = how(session, given, True)
        forms.check_inputs(session, answers, layout, given)
    assert all(bool((one == inputs.POISON).all()) for one in seen)
    (span,) = layout.outputs
    assert all(bool(found.isfinite().all()) for found in answers.tensors(span))


# ---- workers of this process --------------------------------------------------------------------


def test_times_below_the_speed_of_light_are_quarantined(toy: TargetFolder) -> None:
    """No kernel beats the memory it reads."""
    outcome = bench_in_process(toy.incumbent("torch"), toy, QUICK, floor_ms=1e6)
    assert isinstance(outcome, Quarantined)
    assert outcome.reason == "faster_than_light"
    assert outcome.cases[0].floor_ms == 1e6


def test_wrong_from_the_first_call_is_a_failure(toy: TargetFolder, tmp_path: Path) -> None:
    """No time of a wrong answer is ever taken."""
    outcome = bench_in_process(candidate(tmp_path, "return y * 1.01"), toy, QUICK)
    assert isinstance(outcome, Failed)
    assert outcome.reason == "numeric"
    assert outcome.case == "train"


@pytest.mark.parametrize("wrong", ["y * 1.01", "y * float('nan')", "y.detach() + 0 * y"])
def test_a_wrong_timed_output_is_quarantined(toy: TargetFolder, tmp_path: Path, wrong: str) -> None:
    """Right while it is checked and wrong while it is timed is the oldest trick."""
    line = f"calls.append(1); return y if len(calls) < 20 else {wrong}"
    outcome = bench_in_process(candidate(tmp_path, line, "calls = []"), toy, QUICK)
    assert isinstance(outcome, Quarantined), outcome
    assert outcome.reason == "timed_output_wrong"


def test_a_cache_by_a_few_elements_is_found(toy: TargetFolder, tmp_path: Path) -> None:
    """Timed inputs change at random places, not only where a fingerprint would look."""
    line = "return seen.setdefault(tuple(x[0, :4].tolist()), y.detach()) + (y - y.detach())"
    outcome = bench_in_process(candidate(tmp_path, line, "seen = {}"), toy, QUICK)
    reason = {Failed: "numeric", Quarantined: "timed_output_wrong"}
    assert outcome.reason == reason[type(outcome)], outcome


def test_an_error_while_timed_is_a_failure(toy: TargetFolder, tmp_path: Path) -> None:
    """A candidate that breaks down half way has no time."""
    line = "calls.append(1); return y if len(calls) < 20 else y.no_such_method()"
    outcome = bench_in_process(candidate(tmp_path, line, "calls = []"), toy, QUICK)
    assert isinstance(outcome, Failed)
    assert outcome.reason == "raised"


def test_every_timed_input_is_new_and_in_the_same_storage(
    toy: TargetFolder, tmp_path: Path
) -> None:
    """Neither an address nor its content may tell the candidate what it knows already."""
    log = tmp_path / "log"
    line = f"""with open({str(log)!r}, "a") as log:
        print(x.data_ptr(), hash(tuple(x.flatten().tolist())), file=log)
    return y"""
    outcome = bench_in_process(candidate(tmp_path, line), toy, replace(QUICK, generations=1))
    lines = [entry.split() for entry in log.read_text().splitlines()]
    calls = outcome.cases[0].calls_per_block
    assert len({address for address, _ in lines}) == calls
    assert len({content for _, content in lines}) == len(lines)


def test_every_generation_has_workers_of_its_own(toy: TargetFolder, tmp_path: Path) -> None:
    """Luck of one process (where its memory lies) must not pass for a gain of its code."""
    log = tmp_path / "log"
    before = f"with open({str(log)!r}, 'a') as log:\n    print('imported', file=log)"
    outcome = bench_in_process(candidate(tmp_path, "return y", before), toy, QUICK)
    assert log.read_text().splitlines() == ["imported", "imported"]
    (case,) = outcome.cases
    assert case.generation == (0,) * 6 + (1,) * 6
    assert len(case.candidate_ms) == 12


def test_a_slow_start_does_not_make_the_blocks_shorter(toy: TargetFolder, tmp_path: Path) -> None:
    """Few calls per block would leave room for chance; the incumbent's time alone decides."""
    slow = "calls.append(1); time.sleep(0.05 if len(calls) < 10 else 0); return y"
    pace = replace(QUICK, generations=1)
    outcome = bench_in_process(candidate(tmp_path, slow, "import time; calls = []"), toy, pace)
    assert outcome.cases[0].calls_per_block == QUICK.most_slots


def test_a_broken_incumbent_is_the_labs_fault(toy: TargetFolder, tmp_path: Path) -> None:
    """No candidate may look good because the incumbent fails."""
    folder = tmp_path / "toynorm"
    folder.mkdir()
    for path in (toy.path / "target.py", toy.reference):
        (folder / path.name).write_text(path.read_text())
    (folder / "incumbent_torch.py").write_text("def toynorm(x, eps):\n    return x.nothing()\n")
    broken = TargetFolder("toynorm", folder)
    with pytest.raises(MachineError, match="incumbent of toynorm failed"):
        bench_in_process(toy.incumbent("torch"), broken, QUICK)


def test_memory_limits_the_calls_of_a_block(toy: TargetFolder) -> None:
    """A block of a large case must not need more memory than there is."""
    outcome = bench_in_process(toy.incumbent("torch"), toy, QUICK, arena_bytes=2**19)
    assert outcome.cases[0].calls_per_block == 1


def test_without_a_training_case_there_is_nothing_to_time(toy: TargetFolder) -> None:
    """Odd sizes are for correctness; a speed-up on them is no reason to promote."""
    with pytest.raises(CommandError, match="no training case"):
        bench(toy.incumbent("torch"), toy, toy.target.odd_cases, engine="cpu")


# ---- clocks -------------------------------------------------------------------------------------

MS = 1_000_000


def blocks(judge: float, host: float, fetch: float, device: float = 0.0) -> list[Block]:
    """Twelve blocks with 1% of spread."""
    return [
        Block(
            *(int(MS * value * (1 + 0.01 * (i % 3 - 1))) for value in (judge, host, device, fetch))
        )
        for i in range(12)
    ]


HONEST = blocks(30.0, 29.5, 10.0)


@pytest.mark.parametrize(
    "candidate_blocks",
    [HONEST, blocks(20.0, 19.5, 10.2), blocks(40.0, 39.5, 9.0), blocks(20.0, 19.0, 13.0)],
    ids=["same", "faster", "slower", "faster, and a little slower to hand over"],
)
def test_clocks_that_agree_are_believed(candidate_blocks: list[Block]) -> None:
    """An honest gain must not be quarantined."""
    assert trouble(HONEST, candidate_blocks) is None


@pytest.mark.parametrize(
    ("candidate_blocks", "words"),
    [
        (blocks(20.0, 30.0, 10.0), "its timer was changed"),
        (blocks(30.0, 10.0, 10.0), "missed"),
        (blocks(15.0, 14.5, 25.0), "put off"),
        (blocks(29.0, 28.5, 12.0), "put off"),
    ],
    ids=["worker saw more", "worker saw less", "half put off", "a little put off"],
)
def test_clocks_that_disagree_are_not(candidate_blocks: list[Block], words: str) -> None:
    """Each contradiction is a trace of something that was tried."""
    found = trouble(HONEST, candidate_blocks)
    assert found is not None
    assert words in found


@pytest.mark.parametrize("late_of_8", [4, 5, 6, 8])
def test_work_that_is_put_off_in_some_blocks_only_is_found(late_of_8: int) -> None:
    """A worker can count its blocks; putting work off in half of them gains half as much."""
    generator = np.random.default_rng(4)
    spread = iter(generator.normal(1, 0.02, 1000).tolist())

    def block(judge: float, fetch: float) -> Block:
        took, handed_over = int(MS * judge * next(spread)), int(MS * fetch * next(spread))
        return Block(took, took - MS // 2, 0, handed_over)

    incumbent = [block(30.0, 10.0) for _ in range(32)]
    later = [block(15.0, 25.0) if i % 8 < late_of_8 else block(30.0, 10.0) for i in range(32)]
    honest = [block(15.0, 10.2) if i % 8 < late_of_8 else block(30.0, 10.0) for i in range(32)]
    generation = [i // 8 for i in range(32)]
    assert "put off" in (trouble(incumbent, later, generation) or "")
    assert trouble(incumbent, honest, generation) is None


def with_cpu(judge: float, fetch: float, cpu: float, fetch_cpu: float) -> list[Block]:
    """As `blocks`, with CPU time of the calls and of the hand-over."""
    both = int(MS * cpu), int(MS * fetch_cpu)
    return [Block(b.judge_ns, b.host_ns, 0, b.fetch_ns, *both) for b in blocks(judge, judge, fetch)]


def test_work_on_another_core_while_results_are_handed_over_is_found() -> None:
    """It makes nothing later by the wall clock: that core would only have waited."""
    incumbent = with_cpu(30.0, 10.0, cpu=30.0, fetch_cpu=10.0)
    cores = os.cpu_count() or 1
    hidden = 10.0 + 10.0 + cores
    found = trouble(incumbent, with_cpu(20.0, 10.0, cpu=20.0, fetch_cpu=hidden))
    assert found is not None
    assert "CPU time" in found
    assert trouble(incumbent, with_cpu(20.0, 10.0, cpu=20.0, fetch_cpu=10.2)) is None
    awake = 10.0 + 0.4 * (cores - 1)
    threads = with_cpu(20.0, 10.0, cpu=40.0, fetch_cpu=awake)
    assert trouble(incumbent, threads) is None, "threads of OpenMP that are awake for a while"


def test_late_answers_of_a_busy_machine_are_no_contradiction() -> None:
    """Half of the answers wake the judge 10 ms late, whoever gave them."""
    generator = np.random.default_rng(5)

    def arm() -> list[Block]:
        late = np.where(generator.random(32) < 0.5, 10.0, 0.0)
        return [Block(int(MS * (20 + one)), int(MS * 19.5), 0, 10 * MS) for one in late]

    assert not any(trouble(arm(), arm(), [i // 8 for i in range(32)]) for _ in range(50))


def test_work_on_another_stream_is_seen_by_the_devices_clock() -> None:
    """Events on one stream miss what runs on another; the judge's clock does not."""
    incumbent = blocks(30.0, 29.5, 10.0, device=29.0)
    assert trouble(incumbent, blocks(20.0, 19.5, 10.0, device=19.0)) is None
    found = trouble(incumbent, blocks(30.0, 29.5, 10.0, device=2.0))
    assert found is not None
    assert "stream" in found


def timed(control: float, candidate: float = 0.5, spread: float = 0.0001) -> CaseTiming:
    """Twelve blocks; `control` and `candidate` are times, the incumbent's is 1."""
    times = tuple(1.0 + 0.001 * (i % 4) for i in range(12))
    return CaseTiming(
        case="train",
        dtype="float32",
        calls_per_block=1,
        incumbent_ms=times,
        candidate_ms=tuple(t * candidate * (1 + spread * (i % 5)) for i, t in enumerate(times)),
        control_ms=tuple(t * control * (1 + 0.0001 * i) for i, t in enumerate(times)),
        floor_ms=0.0,
        speedup=Interval(point=2.0, low=1.9, high=2.1, samples=12),
        telemetry=Telemetry(others_cpu=(0.6, 0.63, 0.7)),
    )


def test_a_machine_that_favours_one_process_proves_nothing() -> None:
    """If the incumbent beats itself by 10%, a candidate's 10% mean nothing."""
    from lab.harness.bench import _outcome  # the module: the package's name is the function

    assert isinstance(_outcome([timed(1.0)], Pace()), Measured)
    found = _outcome([timed(0.9)], Pace())
    assert isinstance(found, Quarantined)
    assert found.reason == "control_failed"


def test_a_machine_too_noisy_for_the_question_is_said_to_be_so() -> None:
    """A wide interval around 1 is no answer; its owner should know what disturbed it."""
    from lab.harness.bench import _outcome

    found = _outcome([timed(1.0, candidate=0.9, spread=0.1)], Pace())
    assert isinstance(found, Quarantined)
    assert found.reason == "too_noisy"
    assert "other processes took 63% of the CPU" in found.detail
    assert found.cases, "the raw samples are kept"
    wide_and_clear = _outcome([timed(1.0, candidate=0.5, spread=0.1)], Pace())
    assert isinstance(wide_and_clear, Measured), "noise does not hide a gain of two"


def test_the_stated_margins_are_the_ones_in_force() -> None:
    """docs/harness.md states them."""
    text = (Path(timing.__file__).parents[2] / "docs" / "harness.md").read_text()
    assert f"{timing.LIGHT:g}" in text
    assert f"{clocks.DEFERRED_OF_FETCH:.0%}" in text
    pace = Pace()
    assert f"{pace.least_generations} to {pace.generations} generations" in text
    assert f"{pace.enough:.2%}" in text
    assert f"{pace.hopeless:.0%}" in text
