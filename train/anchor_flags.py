"""The flags of default boxes, and the default boxes that they ask for.

What nobody states stays as the network has it; a file (--anchors) goes over the network, flags go over the file.
"""

from __future__ import annotations

import argparse
import dataclasses

from common.command import add_switch, parse_number_lists, parse_numbers
from common.errors import ConfigError, did_you_mean
from common.files import read_json
from common.settings import naming_flags
from symbol.anchors import AnchorConfig, FixedAnchors
from symbol.scales import paper_scales, square_sizes

_LARGEST_SIZE = 4  # of a default box; larger ones are pixels by mistake
_FROM_CELLS = "auto"
# Setting -> flag; --anchor-scales states sizes too.
_FLAGS = {
    "sizes": "--anchor-sizes",
    "ratios": "--anchor-ratios",
    "steps": "--anchor-steps",
    "offsets": "--anchor-offsets",
    "clip": "--anchor-clip",
    "variances": "--anchor-variances",
}
ANCHOR_FLAGS = ("--anchors", "--anchor-scales", *_FLAGS.values())


def add_anchor_flags(group) -> None:
    """Add the flags of default boxes to a parser, or a group of one."""
    group.add_argument(
        "--anchors",
        metavar="FILE.json",
        help="default boxes from a file: sizes, ratios, steps, offsets, clip, variances as a card's anchors has them,"
        " all of them or some; the flags below go over it",
    )
    group.add_argument(
        "--anchor-sizes",
        type=parse_number_lists,
        metavar="A,B;C,D;...",
        help="default boxes' sides relative to the image's height, a list for each feature map",
    )
    group.add_argument(
        "--anchor-scales",
        type=parse_numbers,
        metavar="S0,S1,...|MIN,MAX",
        help="in place of --anchor-sizes: a scale for each feature map and one more, the second square lies between"
        " two (geometric mean); or the least and the greatest, the others evenly between (the paper's rule)",
    )
    group.add_argument(
        "--anchor-ratios",
        type=parse_number_lists,
        metavar="A,B;...",
        help="default boxes' width over height; one list serves all feature maps",
    )
    group.add_argument(
        "--anchor-steps",
        type=_parse_steps,
        metavar="A,B,...|auto",
        help="distance of default boxes, one for each feature map: relative to the image, or in pixels where all are"
        " above 1; auto: the image's side over the map's cells (default: the network's)",
    )
    group.add_argument(
        "--anchor-offsets",
        type=parse_numbers,
        metavar="Y,X",
        help="where in its cell a default box's centre lies (default 0.5,0.5)",
    )
    add_switch(
        group, "--anchor-clip", default=None, help="cut default boxes at the image's border (default: off)"
    )
    group.add_argument(
        "--anchor-variances",
        type=parse_numbers,
        metavar="X,Y,W,H",
        help="of the box encoding: centre and size; two numbers serve both of each (default: the network's)",
    )


def _parse_steps(text: str) -> tuple[float, ...] | str:
    return _FROM_CELLS if text.strip().lower() == _FROM_CELLS else parse_numbers(text)


def changed_anchors(
    args: argparse.Namespace, anchors: AnchorConfig | FixedAnchors, data_shape: tuple[int, int]
) -> AnchorConfig | FixedAnchors:
    """Return default boxes with what flags and file state.

    Args:
        args: parsed flags.
        anchors: of the network, or of the run that goes on.
        data_shape: (height, width) of the input, for steps in pixels.

    Raises:
        ConfigError: what is stated cannot be, or does not fit the feature maps.
    """
    if all(getattr(args, flag.strip("-").replace("-", "_")) is None for flag in ANCHOR_FLAGS):
        return anchors
    if isinstance(anchors, FixedAnchors):
        raise ConfigError(
            "--anchors, --anchor-sizes and the like: the default boxes stand in the graph: leave them out"
        )
    if args.anchors:
        anchors = _from_file(args.anchors, anchors)
    changes = _stated(args, len(anchors.sizes), data_shape)
    with naming_flags({name: _FLAGS[name] for name in changes}):
        return _replaced(anchors, changes)


def anchor_changes(
    args: argparse.Namespace, anchors: AnchorConfig | FixedAnchors, data_shape: tuple[int, int]
) -> dict[str, tuple]:
    """Return {flag without dashes: (what default boxes have, what the flag makes of it)} for what flags would change.

    Args:
        args: parsed flags.
        anchors: of the run that goes on.
        data_shape: (height, width) of its input.

    Raises:
        ConfigError: what is stated cannot be.
    """
    new = changed_anchors(args, anchors, data_shape)
    changes = {}
    for name, flag in (
        {**_FLAGS, "order": "", "clamp": "", "exact_aspect": ""}.items() if new != anchors else ()
    ):
        has, given = getattr(anchors, name), getattr(new, name)
        if name == "sizes" and args.anchor_scales is not None:
            flag = "--anchor-scales"
        by_flag = flag and getattr(args, flag.strip("-").replace("-", "_")) is not None
        if given != has:
            changes[flag.strip("-") if by_flag else f"anchors {args.anchors}: {name}"] = (has, given)
    return changes


def _stated(args: argparse.Namespace, maps: int, data_shape: tuple[int, int]) -> dict:
    """Return the settings that flags state."""
    changes = {}
    if args.anchor_sizes is not None:
        _check_count("--anchor-sizes", args.anchor_sizes, maps)
        changes["sizes"] = args.anchor_sizes
    if args.anchor_scales is not None:
        if "sizes" in changes:
            raise ConfigError("--anchor-scales and --anchor-sizes say the same twice: leave one of them out")
        changes["sizes"] = square_sizes(_scales(args.anchor_scales, maps))
    _check_sizes("--anchor-sizes" if args.anchor_sizes else "--anchor-scales", changes.get("sizes", ()))
    if args.anchor_ratios is not None:
        ratios = args.anchor_ratios
        changes["ratios"] = ratios * maps if len(ratios) == 1 else ratios
    if args.anchor_steps is not None:
        changes["steps"] = _steps(args.anchor_steps, maps, data_shape)
    if args.anchor_offsets is not None:
        changes["offsets"] = args.anchor_offsets
    if args.anchor_clip is not None:
        changes["clip"] = args.anchor_clip
    if args.anchor_variances is not None:
        given = args.anchor_variances
        changes["variances"] = tuple(value for value in given for _ in range(2)) if len(given) == 2 else given
    return changes


def _check_count(flag: str, given: tuple, maps: int) -> None:
    if len(given) != maps:
        raise ConfigError(f"{flag}: found {len(given)} entries, expected {maps}, one for each feature map")


def _check_sizes(source: str, sizes: tuple) -> None:
    """Refuse sizes in pixels."""
    largest = max((size for entry in sizes for size in entry), default=0)
    if largest > _LARGEST_SIZE:
        raise ConfigError(
            f"{source}: found {largest:g}, expected sides relative to the image's height (0.1, not 30 pixels),"
            f" {_LARGEST_SIZE} at most"
        )


def _scales(given: tuple[float, ...], maps: int) -> tuple[float, ...]:
    """Return one scale more than there are maps."""
    if given and min(given) <= 0:
        raise ConfigError(f"--anchor-scales: found {min(given):g}, expected numbers above 0")
    if len(given) == maps + 1:
        return given
    if len(given) != 2:
        raise ConfigError(
            f"--anchor-scales: found {len(given)} numbers, expected {maps + 1}, one for each feature map and one more,"
            " or 2, the least and the greatest"
        )
    if given[0] >= given[1]:
        raise ConfigError(
            f"--anchor-scales: found {given[0]:g},{given[1]:g}, expected the least before the greatest"
        )
    return paper_scales(*given, maps)


def _steps(given: tuple[float, ...] | str, maps: int, data_shape: tuple[int, int]) -> tuple:
    """Return (step_y, step_x) for each map, relative to the image; () where they follow from the cells."""
    if given == _FROM_CELLS:
        return ()
    _check_count("--anchor-steps", given, maps)
    in_pixels = [step > 1 for step in given]
    if all(in_pixels):
        return tuple((step / data_shape[0], step / data_shape[1]) for step in given)
    if any(in_pixels):
        raise ConfigError(
            f"--anchor-steps: found {', '.join(f'{step:g}' for step in given)}: all above 1 (pixels), or none (parts of"
            " the image)"
        )
    return tuple((step, step) for step in given)


def _replaced(anchors: AnchorConfig, changes: dict) -> AnchorConfig:
    """Return default boxes with changes; an order stays where the cells have as many boxes as before."""
    new = dataclasses.replace(anchors, **{"order": (), **changes})
    if "order" in changes or new.per_cell() != anchors.per_cell():
        return new
    return dataclasses.replace(new, order=anchors.order)


def _from_file(path: str, anchors: AnchorConfig) -> AnchorConfig:
    """Return default boxes with what a file states.

    Raises:
        ConfigError: names everything that is wrong in the file, in one line.
    """
    values = read_json(path, "file of default boxes", ConfigError)
    known = [field.name for field in dataclasses.fields(AnchorConfig)]
    if not isinstance(values, dict):
        raise ConfigError(f"--anchors {path}: expected names and values, the names out of {', '.join(known)}")
    problems = [f"{name}: unknown{did_you_mean(name, known)}" for name in values if name not in known]
    problems += [
        problem
        for name, value in values.items()
        if name in known and name != "order"  # an order depends on sizes and ratios; it is told last
        for problem in _problem(anchors, {name: value})
    ]
    problems = problems or _problem(anchors, values)
    if problems:
        count = "" if len(problems) == 1 else f"{len(problems)} things are wrong: "
        raise ConfigError(f"--anchors {path}: {count}{'; '.join(problems)}")
    return _replaced(anchors, values)


def _problem(anchors: AnchorConfig, changes: dict) -> list[str]:
    """Return what is wrong with changes to default boxes: one text, or none."""
    sizes, maps = changes.get("sizes", anchors.sizes), len(anchors.sizes)
    if isinstance(sizes, (list, tuple)) and len(sizes) != maps:
        return [f"sizes has {len(sizes)} lists, expected {maps}, one for each feature map"]
    try:
        _check_sizes("sizes", _replaced(anchors, changes).sizes)
    except ConfigError as error:
        return [str(error).replace("anchors: ", "", 1)]
    return []
