"""The shard runner runs each shard once, retries accidents and names what failed."""

import threading
from collections import Counter
from collections.abc import Iterator

import pytest
from dask.utils import key_split
from distributed import Client

from srsat_dask.errors import ShardError, TokenError
from srsat_dask.runtime import runner
from srsat_dask.runtime.runner import ShardKey, run_shards

calls: Counter[object] = Counter()
lock = threading.Lock()


@pytest.fixture(autouse=True)
def _forget_calls() -> None:
    calls.clear()


def shards(count: int) -> Iterator[tuple[ShardKey, tuple[int]]]:
    for number in range(count):
        yield ("scene", number, 0), (number,)


def times(shared: int, number: int) -> int:
    with lock:
        calls[number] += 1
    return shared * number


def test_every_shard_runs_once_and_gets_what_is_shared(client: Client) -> None:
    """More shards than fit in flight, each with its own result."""
    results = dict(run_shards(client, times, shards(300), prefix="test-shard", shared=3))
    assert results == {("scene", n, 0): 3 * n for n in range(300)}
    assert set(calls.values()) == {1}


def test_only_a_bounded_number_is_planned_ahead(client: Client) -> None:
    """A hundred thousand shards never sit in the scheduler at once."""
    taken = 0

    def counted() -> Iterator[tuple[ShardKey, tuple[int]]]:
        nonlocal taken
        for shard in shards(100_000):
            taken += 1
            yield shard

    results = run_shards(client, times, counted(), prefix="test-shard", shared=1)
    next(results)
    threads = sum(client.nthreads().values())
    assert taken <= runner.AHEAD * threads + 1
    results.close()


def fail_at_first(shared: None, number: int) -> int:
    with lock:
        calls[number] += 1
        if calls[number] == 1:
            raise OSError("a passing fault")
    return number


def test_passing_fault_is_tried_again(client: Client) -> None:
    """One failure of each task does not show in the results."""
    results = dict(run_shards(client, fail_at_first, shards(5), prefix="test-shard"))
    assert sorted(results.values()) == [0, 1, 2, 3, 4]
    assert set(calls.values()) == {2}


def always_fail(shared: None, number: int) -> int:
    if number == 3:
        raise ZeroDivisionError("by nought")
    return number


def test_failure_for_good_names_the_shard_and_its_cause(client: Client) -> None:
    """The error says which shard, why, and chains the original."""
    with pytest.raises(
        ShardError, match=r"test-shard \(3, 0\) of scene failed.*by nought"
    ) as caught:
        list(run_shards(client, always_fail, shards(5), prefix="test-shard"))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert caught.value.exit_status == 1


def refuse(shared: None, number: int) -> int:
    with lock:
        calls[number] += 1
    raise TokenError("refused")


def test_error_on_purpose_ends_the_run_without_retries(client: Client) -> None:
    """A refused token will be refused again: it is passed on at once, as it is."""
    with pytest.raises(TokenError, match="refused"):
        list(run_shards(client, refuse, shards(1), prefix="test-shard"))
    assert calls == {0: 1}


def key_of_task(shared: None, number: int) -> object:
    from distributed import get_worker

    return get_worker().get_current_task()


def test_tasks_are_grouped_by_their_prefix(client: Client) -> None:
    """The dashboard groups tasks by the prefix of their keys."""
    keys = [key for _, key in run_shards(client, key_of_task, shards(2), prefix="harvest-shard")]
    assert {key_split(key) for key in keys} == {"harvest-shard"}
