"""Plans of persistent kernels: which there are, and that they fit the device."""

import re
from dataclasses import replace

import pytest

from portable_rnn._executors.cuda_plan import Limits, plan, why_not
from portable_rnn._executors.trace import trace
from portable_rnn.cells import GRU, LSTM, Elman

pytestmark = pytest.mark.no_products

H100 = Limits()
A100 = Limits(80, 108, 163 << 10, 164 << 10, 2048)
PROGRAMS = {"elman": trace(Elman()), "gru": trace(GRU()), "lstm": trace(LSTM())}
DTYPES = ("float32", "float64", "float16", "bfloat16")


@pytest.mark.parametrize("device", [A100, H100], ids=["A100", "H100"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", PROGRAMS)
def test_plan_covers_all_units_and_sequences_and_fits_the_device(cell, dtype, device):
    found = 0
    for batch in (1, 3, 16, 61, 64, 200):
        for units in (1, 7, 64, 100, 256, 500, 1024):
            one = plan(PROGRAMS[cell], batch, units, dtype, device)
            if isinstance(one, str):
                assert units >= 256, one
                continue
            found += 1
            assert one.blocks * one.block_units >= units
            assert one.groups * one.sequences >= batch
            assert one.items * one.threads >= one.sequences * one.block_units
            shared = max(one.shared(back=False), one.shared(back=True))
            assert shared <= device.shared_per_block
            if one.barrier == "global":
                assert one.grid <= device.resident(one.threads, shared)
            if one.barrier == "cluster":
                assert device.capability >= 90
                assert one.blocks in (2, 4, 8)
    assert found > 20


def test_small_layer_is_one_block_and_waits_for_none():
    one = plan(PROGRAMS["lstm"], 1, 16, "float32", H100)
    assert (one.blocks, one.barrier) == (1, "block")


def test_group_of_eight_blocks_is_a_cluster_where_there_are_clusters():
    asked = {"blocks": 8}
    assert plan(PROGRAMS["lstm"], 16, 256, "float32", H100, **asked).barrier == "cluster"
    assert plan(PROGRAMS["lstm"], 16, 256, "float32", A100, **asked).barrier == "global"


def test_grid_of_a_global_barrier_is_not_larger_than_the_device():
    few = replace(H100, multiprocessors=12)
    asked = {"blocks": 8, "barrier": "global", "sequences": 8, "threads": 256}
    assert not isinstance(plan(PROGRAMS["gru"], 8, 128, "float32", few, **asked), str)
    found = plan(PROGRAMS["gru"], 64, 128, "float32", few, **asked)
    assert found == "no grid for 64 sequences of 128 units can be on this device at once"


@pytest.mark.parametrize(
    ("dtype", "size", "device", "reason"),
    [
        ("float32", (16, 8192), H100, "its recurrent weight of .* bytes does not fit"),
        ("bfloat16", (16, 64), replace(H100, capability=75), "need compute capability 8.0"),
        ("complex64", (16, 64), H100, "no arithmetic of complex64"),
        ("float32", (0, 64), H100, "nothing to compute"),
    ],
)
def test_why_not_gives_the_reason(dtype, size, device, reason):
    assert re.search(reason, why_not(PROGRAMS["lstm"], *size, dtype, device))


def test_why_not_is_empty_where_there_is_a_plan():
    assert why_not(PROGRAMS["lstm"], 16, 64, "float32", H100) == ""
