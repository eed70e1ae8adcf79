"""Merge the reports of several sessions: python -m conformance.report FILES..."""

import argparse
import sys

from . import merge, passed, print_matrix, read_json, write_html, write_json, write_markdown


def main(arguments: list[str] | None = None) -> int:
    """Return 0 if something ran and nothing failed, 1 if not, 2 if the files cannot be merged."""
    parser = argparse.ArgumentParser(
        prog="python -m conformance.report",
        description="Merge reports of the conformance suite, and show what they say.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="JSON that the suite wrote")
    parser.add_argument("--json", metavar="OUT", help="write the merged document here")
    parser.add_argument("--html", metavar="OUT", help="write the page here")
    parser.add_argument("--markdown", metavar="OUT", help="write a record to keep here")
    chosen = parser.parse_args(arguments)
    try:
        document = merge(map(read_json, chosen.files))
    except (OSError, ValueError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    print_matrix(document)
    if chosen.json:
        write_json(document, chosen.json)
    if chosen.html:
        write_html(document, chosen.html)
    if chosen.markdown:
        write_markdown(document, chosen.markdown)
    return 0 if passed(document) else 1


if __name__ == "__main__":
    sys.exit(main())
