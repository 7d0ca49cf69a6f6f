"""The board counts what happened, forgets nothing that matters and repeats nothing private."""

from collections import Counter

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srsat_dask.runtime.board import MOST_FAILURES, MOST_POINTS, Board, Rate
from srsat_dask.runtime.events import (
    Outcome,
    Plan,
    SceneGrid,
    ShardDone,
    ShardState,
    harvested,
    public,
)

WORK = "harvest-shard"


def board_of(states: np.ndarray, scene: str = "scene", run: str = "run") -> Board:
    board = Board()
    board.begin(Plan(run, WORK, (SceneGrid(scene, states),)), now=0.0)
    return board


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 4), st.sampled_from(list(ShardState)[2:])),
        max_size=60,
    )
)
def test_counts_are_those_of_a_plain_dictionary(
    steps: list[tuple[int, int, ShardState]],
) -> None:
    """Whatever the order, the last outcome of each shard is the one that counts."""
    board = board_of(np.zeros((4, 5), np.uint8))
    expected = {(row, column): ShardState.PENDING for row in range(4) for column in range(5)}
    for row, column, state in steps:
        done = ShardDone("run", ("scene", row, column), Outcome(state, {"stored": 3}, 10, "why"))
        board.finish(done, WORK, now=1.0)
        expected[row, column] = state
    work = board.works[WORK]
    counted = Counter(expected.values())
    assert work.counts() == {state: counted[state] for state in ShardState}
    assert work.tiles["stored"] == 3 * len(steps)
    assert work.pixels == 10 * len(steps)
    failed = {at for at, state in expected.items() if state is ShardState.FAILED}
    assert {(row, column) for _, row, column, _ in board.failures(work)} == failed


def test_messages_come_back_as_they_were() -> None:
    """What msgpack carries is what was told."""
    plan = Plan("r", WORK, (SceneGrid("a", np.arange(6, dtype=np.uint8).reshape(2, 3)),))
    back = Plan.of(msgpack.unpackb(msgpack.packb(plan.message())))
    assert (back.run, back.workflow, back.scenes[0].name) == ("r", WORK, "a")
    np.testing.assert_array_equal(back.scenes[0].states, plan.scenes[0].states)
    done = ShardDone(
        "r", ("a", 1, 2), Outcome(ShardState.PARTIAL, {"blank": 1}, 7), 5, {"status 503": 2}
    )
    assert ShardDone.of(msgpack.unpackb(msgpack.packb(done.message()))) == done


def test_time_left_follows_what_is_done() -> None:
    """A quarter in ten seconds leaves thirty; what was there before the run counts for nothing."""
    states = np.zeros((2, 4), np.uint8)
    states[1] = ShardState.STORED
    board = board_of(states)
    work = board.works[WORK]
    assert work.planned == 4
    assert work.seconds_left(5.0) is None
    board.finish(ShardDone("run", ("scene", 0, 0), Outcome(ShardState.STORED)), WORK, 10.0)
    assert work.seconds_left(10.0) == pytest.approx(30.0)
    board.end("run", 12.0)
    assert work.seconds_left(12.0) is None


def test_an_interrupted_run_leaves_nothing_running() -> None:
    """Tasks that were cancelled are pending again; a straggler of an old run changes nothing."""
    board = board_of(np.zeros((1, 3), np.uint8))
    work = board.work_of(f"{WORK}-run")
    assert work is not None
    board.move(work, ("scene", 0, 1), ShardState.RUNNING)
    board.end("run", 1.0)
    assert work.counts()[ShardState.PENDING] == 3
    board.begin(Plan("next", WORK, (SceneGrid("scene", np.zeros((1, 3), np.uint8)),)), 2.0)
    assert board.work_of(f"{WORK}-run") is None
    board.finish(ShardDone("run", ("scene", 0, 0), Outcome(ShardState.STORED)), WORK, 3.0)
    assert work.counts()[ShardState.STORED] == 0


def test_memory_is_bounded() -> None:
    """Reasons and points of a curve are kept up to a number; failures are all counted."""
    board = board_of(np.zeros((1, 2 * MOST_FAILURES), np.uint8))
    work = board.works[WORK]
    for column in range(2 * MOST_FAILURES):
        board.fail(work, ("scene", 0, column), "OSError", "no")
    assert len(list(board.failures(work))) == MOST_FAILURES
    assert work.counts()[ShardState.FAILED] == work.trouble["OSError"] == 2 * MOST_FAILURES
    for step in range(3 * MOST_POINTS):
        board.learn("t", 0.5, 1.0, "", float(step))
    assert board.training is not None
    assert len(board.training.losses) == len(board.training.seconds) <= MOST_POINTS
    assert board.training.seconds == sorted(board.training.seconds)


def test_rates_are_of_the_last_half_minute() -> None:
    """Ten a second is ten a second, and nothing after a long silence."""
    rate = Rate()
    for tenth in range(600):
        rate.add(1, tenth / 10)
    assert rate.at(60.0) == pytest.approx(10, rel=0.05)
    assert rate.at(200.0) == 0


@pytest.mark.parametrize(
    ("tiles", "state"),
    [
        ({"stored": 64}, ShardState.STORED),
        ({"stored": 63, "partial": 1}, ShardState.PARTIAL),
        ({"stored": 1, "absent": 63}, ShardState.PARTIAL),
        ({"absent": 60, "blank": 4}, ShardState.ABSENT),
        ({"stored": 63, "failed": 1}, ShardState.FAILED),
    ],
)
def test_tiles_decide_the_state_of_a_shard(tiles: dict[str, int], state: ShardState) -> None:
    """One failed tile fails its shard; none there at all makes it absent."""
    assert harvested(tiles, tiles, ["status 500"]).state is state


@pytest.mark.parametrize(
    ("said", "hidden"),
    [
        ("no space: '/home/ann/scenes/mosaic.zarr/c/0'", "ann"),
        ("C:\\Users\\ann\\mosaic.zarr is full", "ann"),
        ("~/ann/mosaic.zarr", "ann"),
        ("https://user:pw@host.example/tile?key=s3cret failed", "s3cret"),
        ("https://user:pw@host.example/tile failed", "host.example"),
        ("Authorization: Bearer abc.def", "abc.def"),
        ("token=abcdef is refused", "abcdef"),
    ],
)
def test_reasons_name_no_path_address_or_token(said: str, hidden: str) -> None:
    """The page may hang on a wall."""
    assert hidden not in public(said)
    assert public("status 503, 3/8 tiles") == "status 503, 3/8 tiles"
