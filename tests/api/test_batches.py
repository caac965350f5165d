"""One thread that works on everything that has queued up."""

from __future__ import annotations

import threading

from api.batches import Batches


def test_what_comes_during_a_batch_is_the_next_batch() -> None:
    begun, go_on = threading.Event(), threading.Event()
    seen: list[list[int]] = []

    def work(batch: list[int]) -> None:
        seen.append(batch)
        begun.set()
        go_on.wait(30)

    batches: Batches[int] = Batches("test", work, lambda *_: None, max_size=3)
    batches.put(1)
    assert begun.wait(30)
    for number in range(2, 7):
        batches.put(number)
    go_on.set()
    batches.close()
    assert seen == [[1], [2, 3, 4], [5, 6]]


def test_a_batch_that_fails_fails_each_item_and_not_the_next_batch() -> None:
    failed: list[tuple[int, str]] = []
    worked: list[int] = []

    def work(batch: list[int]) -> None:
        if 1 in batch:
            raise ValueError("no")
        worked.extend(batch)

    batches: Batches[int] = Batches("test", work, lambda item, error: failed.append((item, str(error))), max_size=1)
    batches.put(1)
    batches.put(2)
    batches.close()
    assert (failed, worked) == ([(1, "no")], [2])


def test_a_batch_lingers_while_more_is_to_come() -> None:
    seen: list[list[int]] = []
    worked = threading.Event()
    to_come = iter([2, 3])
    batches: Batches[int]

    def work(batch: list[int]) -> None:
        seen.append(batch)
        worked.set()

    def linger() -> bool:
        item = next(to_come, None)
        if item is not None:
            batches.put(item)
        return item is not None

    batches = Batches("test", work, lambda *_: None, linger=linger)
    batches.put(1)
    assert worked.wait(30)
    batches.close()
    assert [number for batch in seen for number in batch] == [1, 2, 3]
    assert seen[0][:2] == [1, 2]


def test_what_comes_while_a_batch_lingers_waits_with_it_until_more_is_no_longer_sure() -> None:
    seen: list[list[int]] = []
    worked, is_busy = threading.Event(), threading.Event()

    def work(batch: list[int]) -> None:
        seen.append(batch)
        worked.set()

    asked = threading.Event()

    def linger() -> bool:
        asked.set()
        return is_busy.is_set()

    is_busy.set()
    batches: Batches[int] = Batches("test", work, lambda *_: None, linger=linger, linger_s=30.0)
    batches.put(1)
    assert asked.wait(30)
    batches.put(2)
    is_busy.clear()
    batches.put(3)
    assert worked.wait(30)
    batches.close()
    assert seen[0][:2] == [1, 2]
    assert [number for batch in seen for number in batch] == [1, 2, 3]
