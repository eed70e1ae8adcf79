"""Only one process at a time uses a checkpoint, also after one that was killed."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from portable_rnn._files import locks as _locks
from portable_rnn._files.locks import hold
from portable_rnn.training import Callback, train

from .command import call
from .runs import MODEL, Stop, source

pytestmark = pytest.mark.no_products

# A process that trains, prints a line after its first save, and then waits for input.
TRAINING = """
import sys
from portable_rnn.training import Callback, train
from tests.runs import MODEL, source

class Wait(Callback):
    def on_save(self, run, path):
        if run.step == 2:
            print("saved", flush=True)
            sys.stdin.readline()

train(
    MODEL, MODEL.init(seed=0), source(), steps=4, save_every=2,
    checkpoint=sys.argv[1], callbacks=[Wait()],
)
"""
# A process that holds a lock and is killed after it has forked another.
FORKING = """
import os, pathlib, signal, sys, time
from portable_rnn._files.locks import hold

with hold(pathlib.Path(sys.argv[1]), "held"):
    child = os.fork()
    if child == 0:
        print(os.getpid(), flush=True)
        time.sleep(60)
    os.kill(os.getpid(), signal.SIGKILL)
"""
# A process that still holds a lock after one that it has forked has ended.
FORKED = """
import os, pathlib, sys
from portable_rnn._files.locks import hold

path = pathlib.Path(sys.argv[1])
with hold(path, "still held"):
    child = os.fork()
    if child == 0:
        sys.exit()
    os.waitpid(child, 0)
    try:
        with hold(path, "still held"):
            pass
    except ValueError as error:
        print(error)
"""
# A process without fcntl, as in WebAssembly.
NO_FCNTL = """
import pathlib, sys
sys.modules["fcntl"] = None
import portable_rnn
from portable_rnn._files.locks import hold

path = pathlib.Path(sys.argv[1])
for _ in range(2):
    with hold(path, "still held"):
        try:
            with hold(path, "still held"):
                pass
        except ValueError as error:
            print(error)
"""
ROOT = Path(__file__).parents[1]


def go(path, **options):
    return train(MODEL, MODEL.init(seed=0), source(), checkpoint=path, **{"steps": 4} | options)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


@contextlib.contextmanager
def another_training(path):
    """Yield a process that is training with a checkpoint, and has saved it once."""
    command = [sys.executable, "-c", TRAINING, path]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        try:
            assert process.stdout.readline() == b"saved\n"
            yield process
        finally:
            process.kill()


def test_a_second_process_is_refused_and_the_first_one_goes_on(tmp_path):
    path = tmp_path / "c"
    with another_training(path) as first:
        before = path.read_bytes()
        for resume in (False, True):
            with pytest.raises(ValueError, match=r"^checkpoint: .* is already being trained with"):
                go(path, resume=resume)
        assert path.read_bytes() == before
        first.communicate(b"\n", timeout=60)
        assert first.returncode == 0
    assert names(tmp_path) == ["c", "c.previous"]
    assert go(path, resume=True).step == 4


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX's")
def test_a_killed_process_leaves_no_lock_held(tmp_path):
    path = tmp_path / "c"
    with another_training(path) as first:
        first.kill()
        first.wait()
        before = names(tmp_path)
        assert "c" in before
        assert any(name.endswith(".lock") for name in before)  # which nobody holds
        assert go(path, resume=True).step == 4
    assert names(tmp_path) == ["c", "c.previous"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is POSIX's")
def test_a_fork_of_a_killed_process_does_not_keep_the_lock(tmp_path):
    path = tmp_path / "lock"
    process = subprocess.Popen([sys.executable, "-c", FORKING, path], stdout=subprocess.PIPE)
    child = int(process.stdout.readline())
    try:
        assert process.wait() == -signal.SIGKILL
        os.kill(child, 0)  # it is alive
        with hold(path, "held"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        process.stdout.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is POSIX's")
def test_a_fork_that_ends_leaves_the_lock_to_its_parent(tmp_path):
    path = tmp_path / "lock"
    ended = subprocess.run([sys.executable, "-c", FORKED, path], capture_output=True, check=True)
    assert ended.stdout == b"still held\n"
    assert not path.exists()


def test_one_process_holds_a_lock_only_once(tmp_path):
    """Two threads, or a callback that trains, would overwrite each other's file too."""
    path, refused = tmp_path / "c", []

    class Again(Callback):
        def on_step(self, run):
            thread = threading.Thread(target=self.train)
            thread.start()
            thread.join()

        def train(self):
            try:
                go(path, resume=True)
            except ValueError as error:
                refused.append(str(error))

    assert go(path, steps=1, callbacks=[Again()]).step == 1
    message = f"checkpoint: {path} is already being trained with, by this process or another; "
    assert refused == [message + "wait for it, or use another path"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other locks")
def test_without_fcntl_the_package_is_imported_and_threads_exclude_each_other(tmp_path):
    path = tmp_path / "lock"
    ended = subprocess.run([sys.executable, "-c", NO_FCNTL, path], capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, b"still held\n" * 2), ended.stderr
    assert not path.exists()


def fail(number):
    def raise_it(*args):
        raise OSError(number, os.strerror(number))

    return raise_it


def nothing_is_held():
    return not _locks._HELD and not _locks._HELD_WITHOUT_LOCK


def test_a_fork_closes_all_that_it_can(tmp_path, monkeypatch):
    """Errors for descriptors that are recorded but already closed are ignored."""
    held = [os.open(tmp_path / name, os.O_CREAT) for name in "ab"]
    monkeypatch.setattr(_locks, "_HELD", {-1, *held, 2**20})
    _locks._release_in_child()
    assert not _locks._HELD
    for descriptor in held:
        with pytest.raises(OSError, match="descriptor"):
            os.fstat(descriptor)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL])
def test_without_file_locks_one_process_holds_a_file_only_once(tmp_path, monkeypatch, number):
    monkeypatch.setattr(_locks, "_lock_by_system", fail(number))
    for _ in range(2):
        with hold(tmp_path / "a", "a is held"), hold(tmp_path / "b", "b is held"):
            for name in "ab":
                again = hold(tmp_path / name, f"{name} is held")
                with pytest.raises(ValueError, match=f"^{name} is held$"), again:
                    pass
    assert nothing_is_held()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOLCK])
def test_another_error_of_a_lock_names_the_file_and_leaves_nothing_open(
    tmp_path, monkeypatch, number
):
    path, descriptors = tmp_path / "lock", []

    def failing(held):
        descriptors.append(held)
        fail(number)()

    monkeypatch.setattr(_locks, "_lock_by_system", failing)
    with pytest.raises(OSError, match="lock") as caught, hold(path, "held"):
        pass
    assert (caught.value.errno, caught.value.filename) == (number, str(path))
    assert nothing_is_held()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(*descriptors)


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "no"), KeyboardInterrupt()])
def test_a_failure_while_the_lock_is_held_releases_it(tmp_path, monkeypatch, error):
    path = tmp_path / "lock"

    def failing(held, path):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(_locks, "_is_at", failing)
        with pytest.raises(type(error)), hold(path, "held"):
            pass
    assert nothing_is_held()
    with hold(path, "held"):
        pass


@pytest.mark.parametrize("number", [errno.EACCES, errno.ESTALE])
def test_a_lock_that_cannot_be_removed_does_not_fail_the_run(tmp_path, monkeypatch, number):
    path = tmp_path / "c"
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", fail(number))
        assert go(path).step == 4
    assert nothing_is_held()
    assert len(list(tmp_path.iterdir())) == 2
    assert go(path, steps=5, resume=True).step == 5
    assert names(tmp_path) == ["c", "c.previous"]


def test_a_file_that_another_has_put_in_its_place_is_not_removed(tmp_path):
    path = tmp_path / "lock"
    with hold(path, "held"):
        path.rename(tmp_path / "moved")
        path.write_text("of another process")
    assert path.read_text() == "of another process"


def test_a_file_is_removed_after_it_is_closed_where_an_open_one_cannot_be(tmp_path, monkeypatch):
    path, unlink = tmp_path / "lock", Path.unlink

    def of_closed_files(self, **options):
        assert nothing_is_held()
        unlink(self, **options)

    monkeypatch.setattr(_locks, "_REMOVES_OPEN_FILES", False)
    monkeypatch.setattr(Path, "unlink", of_closed_files)
    with hold(path, "held"):
        assert path.exists()
    assert not path.exists()
    monkeypatch.setattr(Path, "unlink", fail(errno.EACCES))  # another process has it open
    with hold(path, "held"):
        pass
    assert path.exists()


def test_a_callback_may_change_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)

    class Leave(Callback):
        def on_start(self, run):
            os.chdir(tmp_path / "elsewhere")

    assert go("c", callbacks=[Leave()]).step == 4
    assert names(tmp_path) == ["c", "elsewhere"]
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_run_that_ends_in_any_way_leaves_no_lock(tmp_path):
    class Fail(Callback):
        def on_step(self, run):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        go(tmp_path / "c", callbacks=[Fail()])
    assert not list(tmp_path.iterdir())
    go(tmp_path / "c", callbacks=[Stop(1)])
    with pytest.raises(ValueError, match="pass resume=True to go on"):
        go(tmp_path / "c")
    assert names(tmp_path) == ["c"]


def test_a_checkpoint_with_a_name_as_long_as_the_system_takes_is_locked(tmp_path):
    limit = os.pathconf(tmp_path, "PC_NAME_MAX") if hasattr(os, "pathconf") else 100
    path = tmp_path / ("c" * min(limit, 255))
    with another_training(path), pytest.raises(ValueError, match="is already being trained with"):
        go(path)


def test_a_folder_is_no_checkpoint(tmp_path):
    for resume in (False, True):
        with pytest.raises(ValueError, match=r"^checkpoint: expected a file, got the folder "):
            go(tmp_path, resume=resume)


def test_the_command_is_refused_where_another_process_trains_with_its_checkpoint(tmp_path):
    (tmp_path / "text").write_text("The cat sat on the mat.\n" * 40)
    tiny = ("--hidden", 4, "--batch-size", 2, "--window", 3, "--steps", 2)
    run = tmp_path / "r"
    code, shown = call("train", "--out", run, "--text", tmp_path / "text", *tiny)
    assert code == 0, shown
    path = run / "checkpoint.safetensors"
    path.unlink()
    (run / "weights.safetensors").unlink()
    with another_training(path):
        unwritten = run / ".checkpoint.safetensors.0123abcd.part"
        unwritten.write_bytes(b"")
        code, shown = call("train", "--out", run, "--resume")
        assert (code, "is already being trained with" in shown) == (2, True), shown
        assert unwritten.exists()
