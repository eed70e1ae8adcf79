"""What a run was asked to do: from the options, and back from its folder."""

import dataclasses
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..cells import CELLS
from ..serialization import CheckpointError, write_atomically

__all__ = ["CHECKPOINT", "CONFIG", "DEFAULTS", "METRICS", "PLOT", "WEIGHTS", "Settings"]

CONFIG = "config.json"
CHECKPOINT = "checkpoint.safetensors"
WEIGHTS = "weights.safetensors"
METRICS = "metrics.jsonl"
PLOT = "loss.png"

# With --minutes and no --steps: more than any machine will reach.
UNLIMITED = 10**9


@dataclass(frozen=True)
class Settings:
    """Options of ``portable-rnn train``; ``text`` is None for Python's own help texts."""

    text: list[str] | None = None
    cell: str = "gru"
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

    def __post_init__(self) -> None:
        for name in ("hidden", "layers", "steps", "batch_size", "window"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: expected a number in [0, 1), got {self.dropout}")
        if self.dropout and self.layers == 1:
            raise ValueError("dropout: acts between layers, and there is one: add --layers")
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"minutes: expected a number above 0, got {self.minutes}")
        if not self.lr > 0:
            raise ValueError(f"lr: expected a number above 0, got {self.lr}")
        if self.cell not in CELLS:
            raise ValueError(f"cell: expected one of {', '.join(CELLS)}, got {self.cell!r}")
        if self.dtype not in ("float32", "float64"):
            raise ValueError(f"dtype: expected float32 or float64, got {self.dtype!r}")
        if self.seed < 0:
            raise ValueError(f"seed: expected at least 0, got {self.seed}")

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
            if (folder / CONFIG).exists():
                raise ValueError(
                    f"out: {folder} already holds a run; pass --resume to go on with it, "
                    "or another --out"
                )
            if "minutes" in given:
                given = {"steps": UNLIMITED} | given
            return folder, cls(**given)
        if out is None:
            raise ValueError("resume: expected the run's folder in --out, got none")
        held = cls.read(out)
        for name, value in given.items():
            # How long to go on is the caller's to change; all else would be another run.
            if name != "minutes" and value != getattr(held, name):
                raise ValueError(
                    f"{name}: the run in {out} was made with {getattr(held, name)!r}, "
                    f"got {value!r}; leave the option out, or use another --out"
                )
        return out, dataclasses.replace(held, minutes=given.get("minutes", held.minutes))

    @classmethod
    def read(cls, folder: Path) -> "Settings":
        """Read the settings of a run's folder."""
        try:
            return cls(**read_config(folder)["settings"])
        except TypeError as error:
            raise CheckpointError(f"{folder / CONFIG}: unknown settings ({error})") from None

    def write(self, folder: Path, **facts: Any) -> None:
        """Write the settings, and facts beside them, to a run's folder."""
        config = {"settings": dataclasses.asdict(self)} | facts
        text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
        write_atomically(folder / CONFIG, text.encode())


def read_config(folder: Path) -> dict[str, Any]:
    """Read the whole configuration of a run's folder.

    Raises
    ------
    CheckpointError
        If there is none, or it is not one.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        config["settings"], config["model"], config["vocabulary"]
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: there is no run in this folder (no {CONFIG})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: expected the configuration of a run ({error})") from None
    return dict(config)


DEFAULTS = Settings()
