"""``portable-rnn sample``: text from a trained run."""

from pathlib import Path

from .._arrays import checks as check
from .._calls.checks import check_parameters
from ..model import RNN
from ..serialization import CheckpointError, load_arrays
from ..text import Vocabulary, generate
from .settings import CHECKSUM, CONFIG, WEIGHTS, read_config
from .terminal import write

__all__ = ["print_sample"]


def print_sample(
    folder: Path, prompt: str | None, length: int, temperature: float, seed: int
) -> None:
    """Print the prompt and what the network makes of it, as it is drawn."""
    config = read_config(folder)
    path, model = folder / WEIGHTS, RNN(**config["model"])
    params, header = load_arrays(path)
    if header.get("config") != config[CHECKSUM]:
        raise CheckpointError(
            f"{path}: is not of the run that {CONFIG} describes; restore both from a copy"
        )
    try:
        check_parameters(model, params)
        for name, array in params.items():
            check.finite(f"params[{name!r}]", array)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}; restore it from a copy") from None
    prompt = config["prompt"] if prompt is None else prompt
    characters = generate(
        model,
        params,
        Vocabulary(config["vocabulary"]),
        prompt=prompt,
        length=length,
        temperature=temperature,
        seed=seed,
    )
    write(prompt, end="")
    for character in characters:
        write(character, end="")
    write("")
