"""The ranking: a wrong ceiling or order sends an author to an op that cannot pay."""

from __future__ import annotations

import pytest

from kernels.spec import Cost, discover
from lab.profiling.attribution import Share
from lab.profiling.costs import Work
from lab.profiling.larger import larger_shares
from lab.profiling.rank import ceiling, rank
from lab.records import HotOp
from lab.roofline import Roofline

MACHINE = Roofline(((2**18, 10.0),), {"float32": 100.0, "bfloat16": 200.0})
"""10 GB/s everywhere, 100 GFLOP/s: easy to divide by."""


def share(op: str, forward: float, backward: float = 0.0, calls: int = 1) -> Share:
    return Share(op, forward, backward, forward + backward, forward + backward, calls)


def ranked(*shares: Share, **work: tuple[Work, ...]) -> dict[str, HotOp]:
    rows = rank(shares, work, MACHINE, "float32", step_ms=100.0, targets={"rmsnorm"})
    return {row.op: row for row in rows}


def test_a_larger_op_takes_what_its_parts_take_inside_it() -> None:
    """The part that is called elsewhere too gives a portion; without a call there is no row."""
    folder = discover()["linear_softcap_cross_entropy"]
    head, loss = folder.target.parts
    shares = [share(head, 0.1, 0.2, calls=2), share(loss, 0.06, 0.12, calls=6)]
    (whole,) = larger_shares(shares, {folder.id: folder})
    assert (whole.op, whole.calls) == (folder.id, 2)
    assert (whole.forward, whole.backward) == pytest.approx((0.1 + 0.06 / 3, 0.2 + 0.12 / 3))
    assert larger_shares(shares[:1], {folder.id: folder}) == ()
    assert larger_shares([*shares, share(folder.id, 0.1)], {folder.id: folder}) == ()


@pytest.mark.parametrize(
    ("part", "left", "faster"),
    [(0.5, 0.0, 2.0), (0.5, 0.5, 4 / 3), (0.2, 1.0, 1.0), (0.0, 0.0, 1.0)],
)
def test_amdahl(part: float, left: float, faster: float) -> None:
    """Half the step removed doubles the speed; half of that half gives a third more."""
    assert ceiling(part, left) == pytest.approx(faster)


def test_a_step_of_one_op_has_a_finite_ceiling() -> None:
    """JSON has no infinity; a null in the ledger could not be read back."""
    assert ceiling(1.0, 0.0) == pytest.approx(1e6)


def test_one_row_added_up_by_hand() -> None:
    """20 + 10 ms of 100; four calls of 10 MB forward (1 ms) and 200 MFLOP backward (2 ms)."""
    cost = Cost(bytes_forward=10**7, flops_forward=1, bytes_backward=1, flops_backward=2 * 10**8)
    row = ranked(share("rmsnorm", 0.2, 0.1, calls=4), rmsnorm=(Work(cost, 4),))["rmsnorm"]
    assert (row.target, row.calls) == (True, 4)
    assert (row.time_ms, row.forward_ms, row.backward_ms) == pytest.approx((30, 20, 10))
    assert (row.bytes_moved, row.flops) == (4 * (10**7 + 1), 4 * (2 * 10**8 + 1))
    assert row.roofline_ms == pytest.approx(12)
    assert row.ceiling_removed == pytest.approx(1 / 0.7)
    assert row.ceiling_roofline == pytest.approx(100 / 82)


def test_the_largest_op_is_not_the_first_if_it_is_at_its_roofline() -> None:
    """The point of the table: a matrix product at full speed takes long and cannot be helped."""
    rows = ranked(
        share("mlp_up", 0.6),
        share("rmsnorm", 0.3),
        share("unattributed", 0.1),
        mlp_up=(Work(Cost(0, 59 * 10**8), 1),),  # 59 of its 60 ms
        rmsnorm=(Work(Cost(10**7, 0), 1),),  # 1 of its 30 ms
    )
    assert list(rows) == ["rmsnorm", "mlp_up", "unattributed"]
    assert not rows["mlp_up"].target


def test_time_that_nobody_understands_promises_no_gain() -> None:
    """Else `unattributed` or a new scope would be the thing to attack, with no kernel to write."""
    rows = ranked(share("unattributed", 0.5), share("new_scope", 0.5))
    assert [row.ceiling_roofline for row in rows.values()] == [1.0, 1.0]
    assert rows["new_scope"].roofline_ms == rows["new_scope"].time_ms


def test_an_op_that_only_organises_could_take_no_time() -> None:
    assert ranked(share("data", 0.5), data=())["data"].ceiling_roofline == pytest.approx(2.0)


def test_a_roofline_is_never_above_the_time_taken() -> None:
    """A step measured in a lucky moment must not show an op slower than it was possible."""
    row = ranked(share("rmsnorm", 0.01), rmsnorm=(Work(Cost(10**9, 0), 1),))["rmsnorm"]
    assert (row.roofline_ms, row.ceiling_roofline) == (row.time_ms, 1.0)


def test_an_op_that_took_no_time_is_a_row_all_the_same() -> None:
    row = ranked(share("rmsnorm", 0.0, calls=0), rmsnorm=())["rmsnorm"]
    assert (row.time_ms, row.ceiling_roofline) == (0.0, 1.0)
