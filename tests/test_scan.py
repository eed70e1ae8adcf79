"""The time loop: the order of steps, what is carried, and the order of results."""

import numpy as np
import pytest

from portable_rnn._executors.eager import EAGER, WHOLE
from portable_rnn._executors.lax import LAX

scan, shift, split = EAGER.scan, EAGER.shift, EAGER.split


def diary(carry, inputs):
    """A step that records its arguments."""
    return (f"{carry[0]}>{'+'.join(inputs)}",), (f"out({'+'.join(inputs)})",)


def test_forwards_visits_the_first_step_first():
    carry, ys = scan(diary, ("start",), (["a", "b", "c"],))
    assert carry == ("start>a>b>c",)
    assert ys == (["out(a)", "out(b)", "out(c)"],)


def test_reverse_visits_the_last_step_first_and_returns_in_the_order_of_time():
    carry, ys = scan(diary, ("start",), (["a", "b", "c"],), reverse=True)
    assert carry == ("start>c>b>a",)
    assert ys == (["out(a)", "out(b)", "out(c)"],)


@pytest.mark.parametrize("reverse", [False, True])
def test_one_step_is_the_step_itself(reverse):
    assert scan(diary, ("s",), (["a"],), reverse=reverse) == (("s>a",), (["out(a)"],))


def test_sequences_are_walked_side_by_side():
    carry, ys = scan(diary, ("s",), (["a", "b"], ["x", "y"]), reverse=True)
    assert carry == ("s>b+y>a+x",)
    assert ys == (["out(a+x)", "out(b+y)"],)


def test_each_result_of_a_step_becomes_a_sequence():
    def step(carry, inputs):
        return carry, (inputs[0], inputs[0] * 10)

    assert scan(step, (), ([1, 2, 3],)) == ((), ([1, 2, 3], [10, 20, 30]))


def test_sequences_of_unequal_length_are_an_error():
    with pytest.raises(ValueError, match="zip"):
        scan(diary, ("s",), (["a", "b"], ["x"]))


def test_what_a_step_keeps_is_not_copied():
    kept = [np.ones(2), np.ones(2)]
    _, (found,) = scan(lambda carry, inputs: (carry, inputs), (), (kept,))
    assert all(a is b for a, b in zip(found, kept, strict=True))


@pytest.mark.parametrize("executor", [EAGER, WHOLE, LAX])
def test_join_undoes_split(executor):
    array = np.arange(24.0).reshape(4, 3, 2)
    sequence = executor.split(array, 4)
    assert isinstance(sequence, list) == (executor is not LAX)
    assert np.array_equal(executor.join(np, sequence), array)


def test_none_is_a_sequence_of_none():
    assert split(None, 3) == [None, None, None]
    assert LAX.split(None, 3) is None


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("executor", [EAGER, WHOLE, LAX])
def test_shift_is_one_step_late(executor, steps):
    array, first = np.arange(2.0 * steps).reshape(steps, 2), np.asarray([-1.0, -2.0])
    late = executor.join(np, executor.shift(np, first, executor.split(array, steps)))
    assert np.array_equal(late, [first, *array[:-1]])


def test_shift_leaves_the_sequence_as_it_was():
    sequence = [1, 2, 3]
    assert shift(np, 0, sequence) == [0, 1, 2]
    assert sequence == [1, 2, 3]


def test_steps_of_unequal_shapes_are_not_joined():
    """Though they have as many numbers as equal ones would."""
    with pytest.raises(ValueError, match="same shape"):
        EAGER.join(np, [np.ones((2, 3)), np.ones((1, 3)), np.ones((3, 3))])
