"""Processes that end at random moments change no bit of a run, and none is left or hangs.

``KILLS=20 pytest tests/test_distributed_kills.py`` (or ``nox -s distributed``) ends so many.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from portable_rnn.distributed import DaskGradients, Shards
from portable_rnn.serialization import load_arrays
from portable_rnn.training import Callback

from .distributed_problem import DROPPING, load, run
from .runs import same

distributed = pytest.importorskip("distributed")
pytest.importorskip("safetensors")

from .distributed_cluster import cluster  # noqa: E402  # it imports distributed

pytestmark = pytest.mark.no_products

KILLS = int(os.environ.get("KILLS", "2"))
WAIT = 60.0
STEPS = 10 * KILLS


def trained(client, **options):
    gradients = DaskGradients(client, DROPPING, timeout=WAIT)
    return run(gradients, Shards(load, 4), model=DROPPING, steps=STEPS, **options)


@pytest.fixture(scope="module")
def two():
    with cluster(2) as found:
        yield found


@pytest.fixture(scope="module")
def undisturbed(two):
    with distributed.Client(two, timeout=WAIT) as client:
        return trained(client)


class NowAndThen(Callback):
    """Do something at random moments of a run."""

    def __init__(self, action):
        rng = random.Random(1)
        self.at = {step: rng.uniform(0, 0.04) for step in rng.sample(range(1, STEPS), KILLS)}
        self.action, self.done, self.rng, self.slowest = action, 0, rng, 0.0
        self.before = time.monotonic()

    def on_step(self, run):
        now = time.monotonic()
        self.slowest = max(self.slowest, now - self.before)
        self.before = now
        if run.step in self.at:
            threading.Timer(self.at[run.step], self.act).start()

    def act(self):
        self.action(self.rng)
        self.done += 1


def kill_one(cluster):
    """End one worker process that is running; if none is, wait for one.

    (A worker that ends while it starts is not started again by Dask.)
    """

    def kill(rng):
        while True:
            there = {worker.pid for worker in cluster.scheduler.workers.values()}
            processes = [nanny.process for nanny in cluster.workers.values() if nanny.process]
            running = [p.pid for p in processes if p.status.name == "running"]
            pids = [pid for pid in running if pid in there]
            if pids:
                os.kill(rng.choice(pids), signal.SIGKILL)
                return
            time.sleep(0.01)

    return kill


def test_workers_that_end_at_random_moments_change_no_bit(two, undisturbed):
    killing = NowAndThen(kill_one(two))
    with distributed.Client(two, timeout=WAIT) as client:
        found = trained(client, callbacks=[killing])
        client.wait_for_workers(2, timeout=WAIT)
    print(f"{killing.done} workers ended; the slowest step took {killing.slowest:.1f} s")
    assert killing.done == KILLS
    assert found.step == STEPS
    assert same(found.params, undisturbed.params)


def test_a_cluster_that_grows_and_shrinks_changes_no_bit(undisturbed):
    with cluster(1) as found, distributed.Client(found, timeout=WAIT) as client:
        scaling = NowAndThen(lambda rng: found.scale(rng.choice([1, 2, 3])))
        got = trained(client, callbacks=[scaling])
    print(f"scaled {scaling.done} times; the slowest step took {scaling.slowest:.1f} s")
    assert scaling.done == KILLS
    assert same(got.params, undisturbed.params)


DRIVER = """
import sys
import distributed

from tests.distributed_cluster import cluster
from tests.test_distributed_kills import trained

if __name__ == "__main__":
    with cluster(2) as found, distributed.Client(found, timeout=60) as client:
        trained(client, checkpoint=sys.argv[1], save_every=1, resume=True)
    print("ended")
"""


def test_a_driver_that_is_killed_is_resumed_on_new_clusters(undisturbed, tmp_path):
    script, path = tmp_path / "driver.py", tmp_path / "c.safetensors"
    script.write_text(DRIVER)
    root = str(Path(__file__).parent.parent)
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": paths, "KILLS": str(KILLS)}
    rng, reached, children = random.Random(2), [], set()

    def begun():
        command = [sys.executable, str(script), str(path)]
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    for kill in range(KILLS):
        process = begun()
        wanted = STEPS * (kill + 1) // (KILLS + 1)
        end = time.monotonic() + WAIT
        while kill % 5 and step_of(path) < wanted and time.monotonic() < end:
            time.sleep(0.01)
        # Every fifth is killed while it starts.
        time.sleep(rng.uniform(0, 0.1) if kill % 5 else rng.uniform(0.5, 3.0))
        children |= descendants(process.pid)
        process.kill()
        process.communicate(timeout=WAIT)
        reached.append(step_of(path))
    process = begun()
    said, _ = process.communicate(timeout=4 * WAIT)
    assert process.returncode == 0, said
    print(f"driver killed {KILLS} times, at steps {reached}")
    assert reached == sorted(reached)
    assert len({0, *reached}) > KILLS // 2, reached
    arrays, header = load_arrays(path)
    assert header["step"] == STEPS
    for name, array in undisturbed.params.items():
        assert arrays[f"params/{name}"].tobytes() == array.tobytes(), name
    end = time.monotonic() + WAIT
    while (left := {pid for pid in children if Path(f"/proc/{pid}").exists()}) and (
        time.monotonic() < end
    ):
        time.sleep(0.1)
    assert not left, "workers were left behind"


def step_of(path):
    """Return the step of a checkpoint, 0 without one."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            return json.loads(json.loads(file.read(size))["__metadata__"]["portable_rnn"])["step"]
    except (OSError, KeyError, ValueError):
        return 0


def descendants(pid):
    """Return the processes that a process has started, as far as the system tells."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parts = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(parts[1]) == pid:
            child = int(path.parent.name)
            found |= {child} | descendants(child)
    return found
