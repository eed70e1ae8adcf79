"""Malformed calls of every public function: each is refused by one clear error, or rightly taken.

`arguments` finds what there is to call, and every argument, by introspection; `kinds` says what
may be wrong with an argument of each kind; `valid` has one valid call of each function, on the
arrays of any row of the suite. `campaign` draws from all of that calls in which one or two
arguments are replaced, and `run` makes them in a process of their own. ::

    python -m conformance.malformed --count 20000 --seed 3
    python -m conformance.malformed --all --only portable_rnn.memory --rows numpy
"""
