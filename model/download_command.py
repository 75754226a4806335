"""download.py: prints the zoo's table, or fetches an entry of it and says what to type next."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from common.command import CommandParser, command
from common.errors import ConfigError
from model import MODEL_FOLDER
from model.zoo import Fetched, ZooEntry, entries, fetch_files, find

_HEADS = ("name", "kind", "input", "classes", "published", "mean (R,G,B)", "std", "checksum", "source")


def build_parser() -> CommandParser:
    """Return the parser of download.py."""
    parser = CommandParser(
        prog="download.py",
        description="Fetch published weights, check them, and lay them where the other commands look. Without NAME: the"
        " table of what there is.",
        epilog="A download that was cut goes on where it ended. Files of yours are never replaced. Proxies:"
        " https_proxy and no_proxy, as everywhere; certificates of your own: SSL_CERT_FILE.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="as --list prints it")
    parser.add_argument("--list", action="store_true", help="print the table")
    parser.add_argument("--out", metavar="FOLDER", help="where the files go (default: the project's model/)")
    parser.add_argument(
        "--force",
        action="store_true",
        help="fetch again what is there; where no checksum was published, accept another file than the first time",
    )
    parser.add_argument(
        "--url-base",
        default="",
        metavar="URL",
        help="a mirror: https://HOST/FOLDER in place of the publisher's host, with the same path behind",
    )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, or fetch."""
    args = build_parser().parse_args(argv)
    if args.list or args.name is None:
        print(table(entries()))
        if args.name is None and not args.list:
            print("\npython model/download.py NAME fetches one of them")
        return 0
    if args.out is not None and not args.out.strip():
        raise ConfigError("--out: expected a folder, found nothing")
    entry = find(args.name)
    root = Path(args.out) if args.out else MODEL_FOLDER
    try:
        fetched = fetch_files(entry, root, force=args.force, url_base=args.url_base)
    except KeyboardInterrupt:
        print(f"{entry.name}: what came is kept; the same command goes on from there", file=sys.stderr)
        raise
    print(report(entry, fetched))
    return 0


def table(shown: Sequence[ZooEntry]) -> str:
    """Return the zoo as a table of text, one line for each entry."""
    rows = [_HEADS, *map(_row, shown)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows
    )


def _row(entry: ZooEntry) -> tuple[str, ...]:
    """Return an entry's cells."""
    height, width = entry.data_shape
    return (
        entry.name,
        entry.kind,
        f"{height}x{width}",
        str(len(entry.classes)) if entry.classes else "ImageNet",
        f"{entry.score:g} {entry.metric}" if entry.score is not None else "-",
        _listed(entry.mean),
        _listed(entry.std),
        f"{entry.checksum.algorithm} {entry.checksum.digits[:8]}" if entry.checksum else "none published",
        entry.source,
    )


def report(entry: ZooEntry, fetched: Fetched) -> str:
    """Return the lines that say what is there now, and what comes next."""
    lines = [f"{entry.name}: {'fetched from ' + fetched.url if fetched.new else 'is there already'}"]
    lines += [f"  {_shown(path)}" for path in fetched.files]
    if entry.checksum:
        lines.append(f"{entry.checksum.algorithm} as {entry.source} published it: {entry.checksum.digits}")
    elif fetched.new:
        lines.append(
            f"no checksum was published: the archive's sha256 is {fetched.sha256}, and a later download is held to it"
        )
    if entry.score is not None:
        lines.append(f"published: {entry.score:g} ({entry.metric})")
    lines.append(f"mean {_listed(entry.mean)}, std {_listed(entry.std)} (R,G,B, 0 to 255)")
    params = fetched.params
    prefix = params.with_name(params.name[: -len("-0000.params")])
    lines.append("next: " + entry.usage.format(prefix=_shown(prefix), params=_shown(params)))
    return "\n".join(lines)


def _shown(path: Path) -> str:
    """Return a path as one would type it here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith(os.pardir) else relative


def _listed(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)
