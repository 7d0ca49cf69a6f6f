"""A small cache in which threads that want the same thing wait for one of them to get it."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Once(Generic[K, V]):
    """What was got lately, by key; a failure is told to those who wait, and not kept.

    Parameters
    ----------
    most : int
        How many values are kept; those not asked for longest go first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[K, Future[V]] = OrderedDict()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """Return the value of a key, made by one thread while the others wait."""
        with self._lock:
            future = self._kept.get(key)
            mine = future is None
            if future is None:
                future = self._kept[key] = Future()
                if len(self._kept) > self._most:
                    self._kept.popitem(last=False)
            else:
                self._kept.move_to_end(key)
        if mine:
            try:
                future.set_result(make())
            except BaseException as error:
                self._drop(key, future)
                future.set_exception(error)
                raise
        return future.result()

    def forget(self, key: K, value: V) -> None:
        """Let the next thread make a key's value anew, unless it is another one by now."""
        with self._lock:
            future = self._kept.get(key)
        if future is not None and future.done() and future.result() is value:
            self._drop(key, future)

    def _drop(self, key: K, future: Future[V]) -> None:
        with self._lock:
            if self._kept.get(key) is future:
                del self._kept[key]
