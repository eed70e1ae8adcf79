"""The command line: ``portable-rnn train | sample | book | info`` (extra ``cli``)."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; explain in one line what is missing, or what was wrong."""
    try:
        from .app import run

        run()
    except KeyboardInterrupt:  # while what the commands need is imported, too
        sys.stderr.write("interrupted\n")
        sys.exit(130)  # as a shell reports it
    except ModuleNotFoundError as error:
        if error.name in ("typer", "rich", "threadpoolctl"):
            sys.exit(
                f"portable-rnn needs {error.name}: pip install typer rich threadpoolctl safetensors"
            )
        raise
