"""Threads before and behind a loop: in order, at the same time as it, in bounded amounts, errors in their turn."""

import threading

import pytest

from semantic_synthesis.evaluation.overlap import Behind, ahead


def test_work_ahead_is_done_while_the_loop_works():
    third = threading.Event()

    def double(item):
        if item == 2:
            third.set()
        return 2 * item

    found = []
    for value in ahead(double, range(6), 3, threads=2):
        assert third.wait(10)  # nobody asked for it yet
        found.append(value)
    assert found == [0, 2, 4, 6, 8, 10]


def test_work_ahead_is_bounded():
    begun = []
    results = ahead(begun.append, range(100), 3)
    next(results)
    assert len(begun) <= 4
    results.close()
    assert len(begun) <= 4


def test_an_error_ahead_comes_in_its_turn():
    found = []
    with pytest.raises(ZeroDivisionError):
        for value in ahead(lambda item: 1 // (item - 3), range(6), 4):
            found.append(value)
    assert len(found) == 3
    with pytest.raises(ZeroDivisionError):
        for value in ahead(str, (1 // (item - 3) for item in range(6)), 4):
            found.append(value)
    assert len(found) == 6


def test_work_behind_is_bounded_and_waited_for():
    free, ended, room = threading.Event(), [], threading.Event()

    def piece(item):
        assert free.wait(10)
        ended.append(item)

    def fill(behind):
        for item in range(3):
            behind.do(piece, item)
        room.set()

    with Behind(2) as behind:
        filler = threading.Thread(target=fill, args=(behind,))
        filler.start()
        assert not room.wait(0.05)  # the third waits for room
        free.set()
        filler.join()
    assert sorted(ended) == [0, 1, 2]


def test_an_error_behind_ends_the_loop():
    done = []
    with pytest.raises(OSError, match="full"), Behind(1) as behind:
        behind.do(_fail)
        behind.do(done.append, 1)
    assert not done


def test_an_error_of_the_loop_lets_pieces_end():
    done = []
    with pytest.raises(ValueError, match="loop"), Behind(4) as behind:
        for item in range(3):
            behind.do(done.append, item)
        raise ValueError("loop")
    assert sorted(done) == [0, 1, 2]


def _fail():
    raise OSError("full")
