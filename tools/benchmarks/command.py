"""The command tools/benchmark.py: flags, the mode that they ask for, tables on the console, files in --out.

Modes: inference beside peers; --training beside peers, or of one records file against its bound (train/benchmark.py);
--input alone, decoding and augmentation; --sweep, cost as work grows.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from common.command import CommandParser, command, parse_shape, parse_whole
from common.errors import ConfigError
from common.files import check_place
from common.threads import usable_cores
from tools.benchmarks import inference, inference_report, prepared, sweep, training
from tools.benchmarks.figures import NOISE_LIMIT
from tools.benchmarks.report import Report
from tools.benchmarks.settings import BENCH_PYTHON, PEERS, PRECISIONS, TRAINING_PEERS, Settings

NETWORKS = "vgg16_reduced_300,mobilenet_300,resnet50_300,ssd7_300"
_TRAINING_BATCH = 8


def build_parser() -> CommandParser:
    """Return the parser of tools/benchmark.py."""
    parser = CommandParser(
        prog="benchmark.py",
        description="Measure how fast networks are: beside other engines, against the bounds of training and input, and"
        " as work grows.",
    )
    mode = parser.add_argument_group("what is measured (default: inference)")
    mode.add_argument(
        "--training", action="store_true", help="training steps; with --input the training loop"
    )
    mode.add_argument(
        "--input",
        metavar="FILE.rec",
        help="packed records: decoding and augmentation alone; with --training the loop",
    )
    mode.add_argument(
        "--sweep", metavar="|".join(sweep.SWEEPS), help="cost of an image as one of these grows, ours alone"
    )
    _add_networks(parser)
    how = parser.add_argument_group("how it is measured")
    how.add_argument("--threads", type=parse_whole, metavar="N", help="of every engine (default: the cores)")
    how.add_argument("--rounds", type=parse_whole, default=5, metavar="N", help="each engine in turn in each")
    how.add_argument("--seconds", type=float, default=2.0, metavar="S", help="of each engine in a round")
    how.add_argument(
        "--noise-limit",
        type=float,
        default=NOISE_LIMIT,
        metavar="X",
        help="the rounds' ratios may differ by this factor; beyond, the machine was too noisy to tell",
    )
    how.add_argument("--seed", type=int, default=0, metavar="N", help="of random weights and drawn images")
    how.add_argument("--out", metavar="DIR", help="write the table, a JSON file and a picture there")
    _add_loop(parser)
    return parser


def _add_networks(parser: CommandParser) -> None:
    """Add the flags that say which networks and engines."""
    group = parser.add_argument_group("networks and engines")
    group.add_argument(
        "--networks",
        metavar="A_300,B_512",
        help=f"presets with their input size, with random weights (default {NETWORKS})",
    )
    group.add_argument("--prefix", metavar="PREFIX", help="a trained detector in place of --networks")
    group.add_argument("--epoch", metavar="best|last|N", help="of --prefix (default best, else last)")
    group.add_argument(
        "--peers", default="", metavar="A,B", help=f"of {','.join(PEERS)} (`make bench-setup`)"
    )
    group.add_argument(
        "--precision", default="float32", metavar="A,B", help=f"of {','.join(PRECISIONS)}, for inference"
    )
    group.add_argument(
        "--batch", metavar="N,M", help=f"images at once (default 1; training {_TRAINING_BATCH})"
    )
    group.add_argument("--classes", type=parse_whole, default=20, metavar="N", help="of random networks")
    group.add_argument("--images", metavar="DIR", help="pictures to look at (default: drawn scenes)")
    group.add_argument("--calib-path", metavar="X.rec", help="records for int8 (default: drawn scenes)")
    group.add_argument(
        "--bench-python",
        default=str(BENCH_PYTHON),
        metavar="PYTHON",
        help="of the peers' environment, which `make bench-setup` makes",
    )


def _add_loop(parser: CommandParser) -> None:
    """Add the flags of train/benchmark.py; --data-shape and --batch-size serve --input alone too."""
    group = parser.add_argument_group("with --input")
    group.add_argument("--network", default="ssd7", metavar="NAME", help="preset, for the training loop")
    group.add_argument(
        "--data-shape", type=parse_shape, default=(300, 300), metavar="H[,W]", help="input size"
    )
    group.add_argument("--batch-size", type=int, default=16, metavar="N", help="images in a batch")
    group.add_argument("--augment", default="ssd", metavar="NAME", help="recipe, for the training loop")
    group.add_argument("--workers", type=int, metavar="N", help="decoding iterators (default: the cores)")
    group.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds of the training loop")


@command
def main(argv: list[str] | None = None) -> int:
    """Measure, print, and with --out write.

    Args:
        argv: flags, those of the process where None.

    Returns:
        0, or 1 where a peer failed or gives something else than ours.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    args = build_parser().parse_args(argv)
    _check_modes(args)
    if args.training and args.input:
        from train.benchmark import main as measure_loop  # brings MXNet

        return measure_loop(argv)
    if args.out:
        check_place(Path(args.out) / "benchmark.json")
    if args.input:
        return _measure_input(args)
    settings = _settings(args)
    with tempfile.TemporaryDirectory(prefix="ssd-bench-") as folder:
        if args.sweep:
            return _measure_sweep(settings, args.sweep, Path(folder), args.out)
        if args.training:
            return _measure_training(settings, Path(folder), args.out)
        return _measure_inference(settings, Path(folder), args.out)


def _check_modes(args: argparse.Namespace) -> None:
    """Refuse flags that contradict each other.

    Raises:
        ConfigError: names them.
    """
    if args.sweep and (args.training or args.input):
        raise ConfigError("--sweep measures inference: leave --training and --input out")
    if args.sweep:
        sweep.check(args.sweep)
    if args.prefix and (args.training or args.sweep):
        raise ConfigError("--prefix is for inference: give --networks here")
    if args.training and args.input and (args.out or args.peers or args.networks):
        raise ConfigError(
            "--training with --input measures the loop of one --network: leave --out, --peers and --networks out, or"
            " leave --input out"
        )


def _settings(args: argparse.Namespace) -> Settings:
    """Return what the flags say.

    Raises:
        ConfigError: a value cannot be.
    """
    names = _list(args.networks or ("" if args.prefix else NETWORKS))
    peers = _list(args.peers)
    if args.training:
        unfit = [name for name in peers if name in PEERS and name not in TRAINING_PEERS]
        if unfit:
            raise ConfigError(f"--peers {unfit[0]}: does not train: with --training give torch")
    if args.sweep and peers:
        raise ConfigError("--sweep measures ours alone: leave --peers out")
    return Settings(
        networks=names,
        peers=peers,
        batches=_batches(args),
        precisions=_list(args.precision),
        classes=args.classes,
        threads=args.threads or usable_cores(),
        rounds=args.rounds,
        seconds=args.seconds,
        noise_limit=args.noise_limit,
        seed=args.seed,
        prefix=args.prefix or "",
        epoch=args.epoch,
        images=args.images,
        calib_path=args.calib_path,
        bench_python=args.bench_python,
        say=_say,
    )


def _list(text: str) -> tuple[str, ...]:
    """Read a comma list, each name once."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _batches(args: argparse.Namespace) -> tuple[int, ...]:
    """Read --batch."""
    texts = _list(args.batch or (str(_TRAINING_BATCH) if args.training else "1"))
    try:
        batches = tuple(parse_whole(text) for text in texts)
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"--batch {args.batch}: {error}") from error
    if args.training and len(batches) > 1:
        raise ConfigError(f"--batch {args.batch}: training measures one batch size: give one")
    return batches


def _say(line: str) -> None:
    """Tell on the error stream how far it has come."""
    print(line, file=sys.stderr, flush=True)


def _tell(report: Report, picture: bytes, out: str | None) -> None:
    """Print a report, and write it where there is a folder."""
    print(report.text())
    if out:
        print("Written:", ", ".join(map(str, report.write(out, picture))))


def _measure_inference(settings: Settings, folder: Path, out: str | None) -> int:
    """Ours and the peers, network by network."""
    versions = settings.peer_versions(settings.peers)
    rows, about = [], []
    for number, network in enumerate(settings.networks or ("",)):
        _say(f"{network or settings.prefix}: making")
        ready = prepared.prepare(settings, network, folder / str(number))
        about.append(ready.about)
        for precision in settings.precisions:
            for batch in settings.batches:
                _say(f"{ready.about['name']} {precision} batch {batch}: measuring")
                rows += inference.compare(settings, ready, precision, batch)
    versions = {"ours": _own_versions(settings, "ours"), **versions}
    report, picture = inference_report.make_report(settings, rows, versions, about)
    _tell(report, picture, out)
    print(*inference_report.best_ratios(rows), sep="\n")
    return int(inference.failed(rows))


def _measure_training(settings: Settings, folder: Path, out: str | None) -> int:
    """Training steps of ours and the peers, network by network."""
    versions = settings.peer_versions(tuple(f"{peer}_training" for peer in settings.peers))
    rows, about = [], []
    for number, network in enumerate(settings.networks):
        _say(f"{network}: making")
        ready = training.prepare(settings, network, folder / str(number))
        about.append(ready.about)
        _say(f"{ready.about['name']}: measuring")
        rows += training.compare(settings, ready)
    versions = {"ours": _own_versions(settings, "ours_training"), **versions}
    report, picture = training.make_report(settings, rows, versions, about)
    _tell(report, picture, out)
    return int(inference.failed(rows))


def _measure_sweep(settings: Settings, kind: str, folder: Path, out: str | None) -> int:
    """Cost as work grows, network by network."""
    points = []
    for number, network in enumerate(settings.networks):
        points += sweep.sweep(settings, kind, network, folder / str(number))
    report, picture = sweep.make_report(settings, kind, points, {"ours": _own_versions(settings, "ours")})
    _tell(report, picture, out)
    return 0


def _measure_input(args: argparse.Namespace) -> int:
    """Decoding and augmentation of a records file."""
    from common import mx as runtime  # brings MXNet, and chooses the threads
    from tools.benchmarks import input_speed

    settings = input_speed.InputSettings(
        records=args.input,
        data_shape=args.data_shape,
        batch=args.batch_size,
        threads=args.threads or usable_cores(),
        rounds=args.rounds,
        noise_limit=args.noise_limit,
    )
    found = input_speed.measure(settings, _say)
    versions = {"ours": {"mxnet": runtime.mx.__version__, "opencv": runtime.cv2.__version__}}
    _tell(*input_speed.make_report(settings, found, versions), args.out)
    return 0


def _own_versions(settings: Settings, engine: str) -> dict[str, str]:
    """Return the versions of one of the project's own processes."""
    with settings.open_own(engine) as worker:
        return worker.versions
