"""Plant bugs at random, and see which tests notice: python -m conformance.mutants.random --help.

Each bug goes into a copy of the library. First, for all bugs, the tests near its module run; then,
for those that lived, all tests on NumPy. A test that hangs counts as noticing the bug. Tests that
compare texts with the source are left out: they would notice any change.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from .edits import Bug, draw, plant

__all__ = ["Found", "Suite", "hunt", "main"]

ROOT = Path(__file__).parents[2]
FOLDERS = "tests", "conformance"
# They compare texts, names or imports with the source, or plant bugs themselves.
TEXTUAL = ("documents", "derivation", "imports", "public_names", "book_mutants")
# Limits are set in the process of the tests itself, since forking is not safe with other threads.
# Ctrl-C raises KeyboardInterrupt there, also in a background run.
LIMITED = """
import resource, runpy, signal, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv.pop(1)),) * 2)
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("pytest", run_name="__main__", alter_sys=True)
"""
Commands = tuple[tuple[str, ...], ...]


@dataclass
class Found:
    """The outcome of a bug: "lived", or was noticed by a failing test, or by one that hung."""

    bug: Bug
    outcome: str = "lived"
    by: str = ""
    seconds: float = 0.0


@dataclass
class Suite:
    """A library, and how it is tested: by commands of pytest, near a module or anywhere."""

    package: Path
    root: Path = ROOT
    memory: int = 12 * 2**30  # bytes of address space, since a bug may allocate any amount
    usual: dict[tuple[str, ...], float] = field(default_factory=dict)  # seconds of a command

    def sources(self, modules: Iterable[str]) -> dict[str, str]:
        paths = (f"{module.replace('.', '/')}.py" for module in modules)
        return {path: (self.package / path).read_text(encoding="utf-8") for path in paths}

    def near(self, module: str) -> Commands:
        """Return the tests of a module, those of others that name it, and of the suite."""
        # A module of a package is named, and tested, by the package as well.
        names = [part for part in Path(module).with_suffix("").parts if part != "__init__"]
        name = f"({'|'.join(map(re.escape, names))})"
        named = re.compile(rf"(prnn|{self.package.name})\.{name}\b|import .*\b{name}\b")

        def naming(folder: str) -> tuple[str, ...]:
            texts = {test: (self.root / test).read_text("utf-8") for test in self.tests(folder)}
            return tuple(test for test, text in texts.items() if named.search(text))

        own = tuple(t for t in self.tests("tests") if re.fullmatch(f"test_{name}", Path(t).stem))
        others = tuple(t for t in naming("tests") if t not in own)
        return self.commands(own, others, rows=naming("conformance"))

    def wide(self, module: str) -> Commands:
        """Return all tests, the same for every module: how long they take is measured once."""
        tests, rows = (tuple(self.tests(folder)) for folder in FOLDERS)
        return self.commands(tests, rows=rows)

    def commands(self, *tests: tuple[str, ...], rows: tuple[str, ...]) -> Commands:
        every = (*tests, (*rows, "--backend=numpy") if rows else ())
        return tuple(command for command in every if command)

    def tests(self, folder: str) -> list[str]:
        left_out = {f"test_{name}" for name in TEXTUAL}
        found = sorted((self.root / folder).glob("test_*.py"))
        return [f"{folder}/{path.name}" for path in found if path.stem not in left_out]

    def run(self, command: tuple[str, ...], source: Path, limit: float) -> tuple[str, str]:
        """Run tests on a copy in the folder ``source``; return the outcome, and the test."""
        quiet = ("-x", "-q", "-rfE", "-p", "no:cacheprovider", "-p", "no:xdist")
        process = subprocess.Popen(
            [sys.executable, "-c", LIMITED, str(self.memory), *quiet, *command],
            cwd=self.root,
            env=os.environ | {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return "hung", " ".join(command)
        if process.returncode in (0, 5):  # 5: no test was collected for this row
            return "lived", ""
        failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", output, re.MULTILINE)
        return "noticed", failed[1] if failed else f"pytest ended with {process.returncode}"

    def try_out(self, bug: Bug | None, commands: Commands) -> Found:
        """Run commands on a copy with a bug, or without, until one of them notices."""
        start, outcome, by = time.monotonic(), "lived", ""
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / self.package.name
            shutil.copytree(self.package, copy, ignore=shutil.ignore_patterns("__pycache__"))
            if bug is not None:
                text = (self.package / bug.module).read_text(encoding="utf-8")
                (copy / bug.module).write_text(plant(bug, text), encoding="utf-8")
            for command in commands:
                begun = time.monotonic()
                limit = 10.0 + 5.0 * self.usual[command] if bug else 3600.0
                outcome, by = self.run(command, Path(folder), limit)
                if bug is None:
                    self.usual[command] = time.monotonic() - begun
                if outcome != "lived":
                    break
        return Found(bug, outcome, by, time.monotonic() - start)  # type: ignore[arg-type]


OnFound = Callable[[list[Found]], None]


def hunt(suite: Suite, bugs: list[Bug], stage: str, jobs: int, console: Console, on_found: OnFound):
    """Try all bugs, after a run without one; report all results so far after each."""
    commands = {bug: getattr(suite, stage)(bug.module) for bug in bugs}
    every = dict.fromkeys(c for some in commands.values() for c in some if c not in suite.usual)
    found: list[Found] = []
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(jobs) as pool:
        first = progress.add_task(f"{stage}: without a bug", total=len(every))
        for without in pool.map(lambda command: suite.try_out(None, (command,)), every):
            if without.outcome != "lived":
                raise SystemExit(f"{without.by} fails without a bug")
            progress.advance(first)
        task = progress.add_task(f"{stage}: bugs", total=len(bugs))
        futures = [pool.submit(suite.try_out, bug, commands[bug]) for bug in bugs]
        for future in as_completed(futures):
            found.append(future.result())
            progress.advance(task)
            on_found(found)
    return sorted(found, key=lambda one: bugs.index(one.bug))


def show(found: list[Found], console: Console) -> None:
    table = Table("module", "bugs", "noticed", "hung", "lived")
    counts = Counter((one.bug.module, one.outcome) for one in found)
    for module in (*dict.fromkeys(one.bug.module for one in found), "all"):
        of = [n for n in counts if module in (n[0], "all")]
        each = [sum(counts[n] for n in of if n[1] == o) for o in ("noticed", "hung", "lived")]
        table.add_row(module, *map(str, (sum(each), *each)))
    console.print(table)
    for one in found:
        if one.outcome == "lived":
            where = f"{one.bug.module}:{one.bug.line}: {one.bug.kind}"
            console.print(f"{where}\n{one.bug.diff}\n", markup=False, highlight=False)


def main(arguments: list[str] | None = None) -> int:
    """Return 0 if every bug was noticed, 1 if one lived."""
    import portable_rnn

    parser = argparse.ArgumentParser(prog="python -m conformance.mutants.random")
    parser.add_argument("--modules", help="such as steps,memory")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", type=Path, help="retry the bugs that lived in such a file")
    parser.add_argument("--stage", choices=("near", "wide", "both"), default="both")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the outcome of each")
    chosen = parser.parse_args(arguments)
    if bool(chosen.modules) == bool(chosen.again):
        parser.error("expected --modules or --again")
    suite, console = Suite(Path(portable_rnn.__file__).parent), Console()
    known: dict[Bug, Found | None]
    if chosen.again:
        before = [
            Found(Bug(*one.pop("bug")), **one) for one in json.loads(chosen.again.read_text())
        ]
        known = {one.bug: one for one in before}
    else:
        drawn = draw(suite.sources(chosen.modules.split(",")), chosen.count, chosen.seed)
        known = dict.fromkeys(drawn)

    def on_found(found: list[Found]) -> None:
        known.update((one.bug, one) for one in found)
        if chosen.json:
            every = [asdict(one) for one in known.values() if one]
            chosen.json.write_text(json.dumps(every, indent=1) + "\n", encoding="utf-8")

    for stage in ("near", "wide") if chosen.stage == "both" else (chosen.stage,):
        alive = [bug for bug, one in known.items() if one is None or one.outcome == "lived"]
        hunt(suite, alive, stage, chosen.jobs, console, on_found)
    tried = [one for one in known.values() if one]
    show(tried, console)
    return int(any(one.outcome == "lived" for one in tried))


if __name__ == "__main__":
    sys.exit(main())
