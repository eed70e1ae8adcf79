"""Data that stays on disk, batches that are read ahead, and texts in parts."""

from ..mutant import Mutant

__all__ = ["DATA"]

CHUNKED = "tests/test_chunked.py::test_{}"

DATA = [
    Mutant(
        "chunks in one order in every epoch",
        "batches/chunked.py",
        "order = np.random.default_rng([self._seed, epoch]).permutation(chunks)",
        "order = np.random.default_rng([self._seed]).permutation(chunks)",
        CHUNKED.format("each_epoch_sees_every_sequence_once_in_a_new_order"),
    ),
    Mutant(
        "sequences of a chunk in one order in every epoch",
        "batches/chunked.py",
        "np.random.default_rng([self._seed, epoch, number])",
        "np.random.default_rng([self._seed, number])",
        CHUNKED.format("each_epoch_sees_every_sequence_once_in_a_new_order"),
    ),
    Mutant(
        "sequences of a chunk in the order of the file",
        "batches/chunked.py",
        "np.random.default_rng([self._seed, epoch, number]).permutation(sizes[place])",
        "np.arange(sizes[place])",
        CHUNKED.format("each_epoch_sees_every_sequence_once_in_a_new_order"),
    ),
    Mutant(
        "all chunks stay in memory",
        "batches/chunked.py",
        "self._held[1 - HELD :] if len(self._held) == HELD else self._held",
        "self._held",
        CHUNKED.format("each_chunk_is_read_once_an_epoch_in_one_piece"),
    ),
    Mutant(
        "lengths of the first chunk",
        "batches/chunked.py",
        "rows + number * self._chunk",
        "rows",
        CHUNKED.format("arrays_stay_together"),
    ),
    Mutant(
        "a column of a frame, sliced by its labels",
        "batches/chunked.py",
        'hasattr(array, "to_numpy") and not hasattr(array, "dims")',
        "False",
        CHUNKED.format("a_column_of_a_frame_is_refused"),
    ),
    Mutant(
        "batches read ahead again at each step",
        "batches/prefetched.py",
        "if one not in self._waiting:",
        "if one != step or one not in self._waiting:",
        CHUNKED.format("the_next_batches_are_read_ahead_once_and_in_order"),
    ),
    Mutant(
        "an error of the source that is lost",
        "batches/prefetched.py",
        "future.set_exception(error)",
        "future.set_result(None)",
        CHUNKED.format("an_error_of_the_source_comes_at_its_step"),
    ),
    Mutant(
        "the pair of characters between two parts of a text",
        "text.py",
        "last = labels[-1:]",
        "pass",
        "tests/test_text.py::test_a_text_is_read_in_parts[3-1048576]",
    ),
]
