"""Malformed calls of every public function: each is refused by one clear error, or correctly taken.

`arguments` finds all functions and their arguments by introspection; `kinds` has wrong values for
each kind of argument; `valid` has one valid call of each function, on the arrays of any row of the
suite. From these, `campaign` draws calls in which one or two arguments are replaced, and `run`
makes them in separate processes. ::

    python -m conformance.malformed --count 20000 --seed 3
    python -m conformance.malformed --all --only portable_rnn.memory --rows numpy
"""
