"""Kernels compile by the real NVRTC, and persistent ones take what a plan says of a device."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import kernel_resources, nvrtc

pytestmark = pytest.mark.no_products

EVERY = "EVERY_CELL" in os.environ


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """What was compiled, in a process without the emulated device."""
    try:
        nvrtc._headers(nvrtc._library())
    except nvrtc.Unavailable as reason:
        pytest.skip(f"not run: {reason}")
    path = tmp_path_factory.mktemp("kernels") / "resources.json"
    command = [sys.executable, "-m", kernel_resources.__name__, "--json", str(path)]
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [*command, *(["--all"] if EVERY else [])],
        capture_output=True,
        text=True,
        cwd=root,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)])},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(path.read_text(encoding="utf-8"))["rows"]


def test_fused_kernels_compile_for_every_device_and_dtype(records):
    found = {(row["device"], row["dtype"], row.get("kernel")) for row in records}
    for device in kernel_resources.DEVICES:
        for dtype in kernel_resources.DTYPES:
            assert {(device, dtype, "rnn_step"), (device, dtype, "rnn_step_vjp")} <= found


def test_persistent_kernels_compile_for_every_device_dtype_and_barrier(records):
    found = {(row["device"], row["dtype"], row.get("barrier")) for row in records}
    for device, limits in kernel_resources.DEVICES.items():
        for dtype in kernel_resources.DTYPES:
            assert {(device, dtype, "block"), (device, dtype, "global")} <= found
            assert ((device, dtype, "cluster") in found) == (limits.capability >= 90)


def test_kernels_do_not_spill_and_fit_the_device(records):
    compiled = [row for row in records if "kernel" in row]
    assert len(compiled) > 100
    for row in compiled:
        assert row["spilled"] == 0, row
        assert row["stack"] == 0, row
        assert row["registers"] <= 255, row
        assert row["shared"] + row["static_shared"] <= row["shared_limit"], row
        # As many blocks are on a multiprocessor at once as the plan reckons with.
        registers = -(-row["registers"] // 8) * 8 * row["threads"] * row["resident"]
        assert registers <= 65536, row
