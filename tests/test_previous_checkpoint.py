"""The checkpoint before the last one is kept, and offered when the last one is lost."""

import os
import re

import pytest

from portable_rnn.serialization import CheckpointError, load_arrays
from portable_rnn.training import train

from .runs import MODEL, same, source

pytestmark = pytest.mark.no_products


def go(path, steps=12, **options):
    return train(
        MODEL, MODEL.init(seed=0), source(), steps=steps, checkpoint=path, save_every=3, **options
    )


def step_of(path):
    return load_arrays(path)[1]["step"]


def damage(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("links", [True, False])
def test_a_run_goes_on_from_the_checkpoint_that_it_is_offered(tmp_path, monkeypatch, links):
    if not links:  # as on some file systems of networks and of sticks

        def none(*names):
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", none)
    whole = go(tmp_path / "whole")
    path, kept = tmp_path / "c", tmp_path / "c.previous"
    go(path, steps=10)
    assert (step_of(path), step_of(kept)) == (10, 9)
    assert files(tmp_path) == ["c", "c.previous", "whole", "whole.previous"]
    damage(path)
    with pytest.raises(CheckpointError) as caught:
        go(path, resume=True)
    assert str(caught.value).startswith(f"{path}: is damaged, since its checksum does not match")
    assert str(caught.value).endswith(
        f"; to go on from the one before it, of step 9, rename {kept} to c"
    )
    kept.rename(path)
    run = go(path, resume=True)
    assert run.step == 12
    assert same(run.params, whole.params)


def test_a_checkpoint_that_is_gone_is_not_begun_anew(tmp_path):
    path, kept = tmp_path / "c", tmp_path / "c.previous"
    go(path)
    path.unlink()
    before = kept.read_bytes()
    for resume in (False, True):
        with pytest.raises(ValueError, match=re.escape(f"of step 9, rename {kept} to c; or dele")):
            go(path, resume=resume)
    assert files(tmp_path) == ["c.previous"]
    assert kept.read_bytes() == before
    damage(kept)
    with pytest.raises(ValueError, match=r"but c\.previous beside it; or delete it to begin anew"):
        go(path)
    kept.unlink()
    assert go(path).step == 12


def test_two_damaged_files_are_no_offer(tmp_path):
    path, kept = tmp_path / "c", tmp_path / "c.previous"
    go(path)
    for each in (path, kept):
        damage(each)
    with pytest.raises(CheckpointError, match=r"make it again$"):
        go(path, resume=True)
    kept.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"make it again$"):
        go(path, resume=True)


@pytest.mark.parametrize("call", ["link", "replace", "fsync"])
@pytest.mark.parametrize("count", range(1, 8))
def test_a_crash_at_any_call_leaves_a_checkpoint(tmp_path, monkeypatch, call, count):
    whole, path = go(tmp_path / "whole"), tmp_path / "c"
    true, calls = getattr(os, call), []

    def crash(*args, **options):
        calls.append(args)
        if len(calls) == count:
            raise KeyboardInterrupt
        return true(*args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, call, crash)
        try:
            go(path)
        except KeyboardInterrupt:
            assert path.exists() or count == 1
    for each in (path, tmp_path / "c.previous"):
        if each.exists():
            assert step_of(each) % 3 == 0
    assert same(go(path, resume=True).params, whole.params)


def test_a_long_name_has_a_previous_one_too(tmp_path):
    path = tmp_path / ("c" * 255)
    go(path)
    (kept,) = tmp_path.glob("*.previous")
    assert step_of(kept) == 9
    assert go(path, steps=14, resume=True).step == 14
