"""``portable-rnn sample``: text from a trained run."""

from pathlib import Path

from ..model import RNN
from ..text import Vocabulary, generate
from .settings import read_config, read_weights
from .terminal import write

__all__ = ["print_sample"]


def print_sample(
    folder: Path, prompt: str | None, length: int, temperature: float, seed: int
) -> None:
    """Print the prompt and what the network makes of it, as it is drawn."""
    config = read_config(folder)
    params, model = read_weights(folder, config), RNN(**config["model"])
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
