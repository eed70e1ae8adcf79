"""What a run was asked to do: from the options, and back from its folder."""

import dataclasses
import json
import zlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from .._arrays import checks as check
from .._calls.checks import check_parameters
from .._files.atomic import NO_CHECKSUM, previous, write_atomically
from ..cells import CELLS
from ..model import RNN
from ..serialization import CheckpointError, load_arrays
from ..text import Vocabulary

__all__ = [
    *("CHECKPOINT", "CHECKSUM", "CONFIG", "DEFAULTS", "METRICS", "PLOT", "PREVIOUS", "UNLIMITED"),
    *("WEIGHTS", "Settings", "read_config", "read_weights", "refuse_another_run"),
]

CONFIG = "config.json"
CHECKPOINT = "checkpoint.safetensors"
PREVIOUS = previous(Path(CHECKPOINT)).name
WEIGHTS = "weights.safetensors"
METRICS = "metrics.jsonl"
PLOT = "loss.png"
CHECKSUM = "crc32"

# With --minutes and no --steps: more than any machine will reach.
UNLIMITED = 10**9


@dataclass(frozen=True)
class Settings:
    """Options of ``portable-rnn train``; ``text`` is None for Python's own help texts."""

    text: list[str] | None = None
    cell: str = "gru"
    embedding: int = 32
    hidden: int = 128
    layers: int = 1
    dropout: float = 0.0
    steps: int = 3000
    minutes: float | None = None
    batch_size: int = 16
    window: int = 64
    lr: float = 6e-3
    backend: str = "numpy"
    dtype: str = "float32"
    device: str | None = None
    seed: int = 0
    shards: int | None = None  # of each batch, on a cluster; None in one process

    def __post_init__(self) -> None:
        for name in ("embedding", "hidden", "layers", "steps", "batch_size", "window"):
            check.count(name, getattr(self, name))
        check.number("dropout", self.dropout, least=0, below=1)
        if self.dropout and self.layers == 1:
            raise ValueError("dropout: acts between layers, and there is only one: add --layers")
        if self.minutes is not None:
            check.number("minutes", self.minutes, above=0)
        if self.shards is not None and check.count("shards", self.shards) > self.batch_size:
            raise ValueError(
                f"shards: expected at most the {self.batch_size} sequences of a batch, "
                f"got {self.shards}"
            )
        check.number("lr", self.lr, above=0)
        check.choice("cell", self.cell, CELLS)
        check.choice("dtype", self.dtype, ("float32", "float64"))
        check.integer("seed", self.seed, least=0)
        check.text("backend", self.backend)
        if self.device is not None:
            check.text("device", self.device)
        if not isinstance(self.text, (list, tuple, type(None))):
            raise TypeError(f"text: expected a list of paths, got {check.said(self.text)}")
        for i, path in enumerate(self.text or ()):
            check.text(f"text[{i}]", path)

    @classmethod
    def resolve(
        cls, out: Path | None, given: dict[str, Any], *, resume: bool
    ) -> tuple[Path, "Settings"]:
        """Return the folder and the settings of a new run, or of one to go on with.

        Raises
        ------
        ValueError
            If there is a run already and ``resume`` is false, none and it is true, or if
            an option differs from the run's.
        """
        if not resume:
            folder = out or Path("runs") / datetime.now().strftime("%Y%m%d-%H%M%S")
            refuse_another_run(folder)
            if "minutes" in given:
                given = {"steps": UNLIMITED} | given
            return folder, cls(**given)
        if out is None:
            raise ValueError("resume: expected the run's folder in --out, got none")
        held = cls.read(out)
        for name, value in given.items():
            # How long to go on is the caller's to change; all else would be another run.
            if name != "minutes" and value != getattr(held, name):
                why = ", for its learning rate falls until its last step"
                why = why if name == "steps" else ""
                raise ValueError(
                    f"{name}: expected {_shown(name, getattr(held, name))}, with which the run in "
                    f"{out} was begun{why}, got {_shown(name, value)}; leave the option out, or "
                    "use another --out"
                )
        return out, dataclasses.replace(held, minutes=given.get("minutes", held.minutes))

    @classmethod
    def read(cls, folder: Path) -> "Settings":
        """Read the settings of a run's folder."""
        try:
            return cls(**read_config(folder)["settings"])
        except CheckpointError:
            raise
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{folder / CONFIG}: unknown settings ({error})") from None

    def write(self, folder: Path, **facts: Any) -> None:
        """Write the settings, and some facts, to a run's folder."""
        config = {"settings": dataclasses.asdict(self)} | facts
        config[CHECKSUM] = checksum(config)
        text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
        write_atomically(folder / CONFIG, text.encode())


def _shown(name: str, value: Any) -> str:
    """Return a setting in the words of the command line."""
    if name == "text":
        return "Python's own help texts" if value is None else ", ".join(value)
    if value is None or (name == "steps" and value == UNLIMITED):
        return f"no --{name.replace('_', '-')}"
    return str(value)


def refuse_another_run(folder: Path) -> None:
    """Raise ValueError if there is a run in a folder, or a part of one."""
    if (folder / CONFIG).exists():
        raise ValueError(
            f"out: {folder} already holds a run; pass --resume to continue it, or another --out"
        )
    for name in (CHECKPOINT, PREVIOUS, WEIGHTS, METRICS):
        if (folder / name).exists():
            raise ValueError(
                f"out: {folder} holds {name} of a run without its {CONFIG}; use another --out"
            )


def checksum(config: dict[str, Any]) -> str:
    """Return the CRC-32 of a configuration: of its values, however they are laid out."""
    values = {name: value for name, value in config.items() if name != CHECKSUM}
    return f"{zlib.crc32(json.dumps(values, sort_keys=True).encode()):08x}"


def read_config(folder: Path) -> dict[str, Any]:
    """Read the whole configuration of a run's folder.

    Raises
    ------
    CheckpointError
        If there is none, or it is not one, or not as it was written.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError(f"expected an object, got {type(config).__name__}")
        held = config.get(CHECKSUM), checksum(config)
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: there is no run in this folder (no {CONFIG})") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: expected the configuration of a run ({error}); restore it from a copy"
        ) from None
    if held[0] is None:
        raise CheckpointError(f"{path}: {NO_CHECKSUM}; restore it from a copy, or start a new run")
    if held[0] != held[1]:
        raise CheckpointError(
            f"{path}: is damaged or edited: its checksum does not match; restore it from a copy, "
            "or start a new run with your changes"
        )
    try:
        model = RNN(**config["model"])
        config["model"] = model.to_dict()
        if len(Vocabulary(config["vocabulary"])) != (model.vocabulary_size or model.input_size):
            raise ValueError("the sizes of the vocabulary and the model differ")
        if not isinstance(config["settings"], dict) or not isinstance(config["prompt"], str):
            raise TypeError("settings or prompt of the wrong type")
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: expected the configuration of a run ({error})") from None
    return dict(config)


def read_weights(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Read the weights of a run's folder, with which its configuration must go.

    Raises
    ------
    CheckpointError
        If there are none, or they are damaged, or of another run or model.
    """
    path, model = folder / WEIGHTS, RNN(**config["model"])
    params, header = load_arrays(path)
    if header.get("config") != config[CHECKSUM]:
        raise CheckpointError(
            f"{path}: is not of the run that {CONFIG} describes; restore both from a copy"
        )
    try:
        check_parameters(model, params)
        check.finite({f"params[{name!r}]": array for name, array in params.items()})
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}; restore it from a copy") from None
    return params


DEFAULTS = Settings()
