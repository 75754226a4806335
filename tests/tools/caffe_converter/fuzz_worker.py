"""The process of fuzz.py that converts inputs: it may crash, hang or eat memory, and its parent goes on.

It says "converting", "running" and "done" on a pipe; what lies in its folder when it falls silent is the input.
"""

from __future__ import annotations

import faulthandler
import json
import math
import os
import resource
import time
import traceback
from pathlib import Path
from unittest import mock

from fuzz_cases import Case, make_case, read_models

from common.errors import ConversionError
from common.mx import mx
from model.card import Card
from model.graph import keep_used
from tools.caffe_converter import convert
from tools.caffe_converter.preprocessing import preprocessing

MEMORY = 2 << 30  # bytes, of one input
_MOST_ACTIVATIONS, _MOST_WORK = 50 << 20, 2e9  # bytes and multiplications of a forward pass that is run
FILES = ("input.prototxt", "input.caffemodel", "input.txt", "log")
MOST_MESSAGE = 3000


def work(pipe, models: Path, folder: Path, seed: int) -> None:
    """Convert the inputs whose numbers come through a pipe, until None comes.

    Args:
        pipe: both ways: a number in; "ready", "converting", "running" and a result out.
        models: folder of the models to mutate.
        folder: of this worker, for its files.
        seed: of all inputs.
    """
    log = open(folder / "log", "w+")  # noqa: SIM115, MXNet writes to it until the process ends
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    faulthandler.enable(log)
    loaded = read_models(models)
    for model in loaded:  # libraries and threads take their memory now
        _run(Case("", "", model.prototxt, model.caffemodel, {}), folder, lambda word: None)
    _limit_memory()
    pipe.send("ready")
    while (number := pipe.recv()) is not None:
        case = make_case(loaded, seed, number, folder)
        log.truncate(0)
        before = _reset_peak()
        result = _run(case, folder, pipe.send)
        result |= {"memory": _status("VmHWM"), "grown": _status("VmHWM") - before}
        pipe.send({**describe(case), **result})


def describe(case: Case) -> dict:
    """Return what a report says of an input beside what came of it."""
    return {"half": case.half, "made": case.made, "options": str(case.options)}


def _limit_memory() -> None:
    """Let this process have no more address space than its inputs may take."""
    limit = _status("VmSize") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _status(name: str) -> int:
    """Return a number of bytes that the kernel knows of this process."""
    with open("/proc/self/status") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith(f"{name}:")) << 10


def _reset_peak() -> int:
    """Forget the greatest memory so far; return what is taken now."""
    try:
        with open("/proc/self/clear_refs", "w") as stream:
            stream.write("5")
    except OSError:  # not allowed here: the peak is that of all inputs so far
        pass
    return _status("VmRSS")


def _run(case: Case, folder: Path, say) -> dict:
    """Do with one input what convert_model.py does, then run what came out."""
    paths = [folder / name for name in FILES[:2]]
    for path, data in zip(paths, (case.prototxt, case.caffemodel)):
        path.write_bytes(data)
    (folder / "input.txt").write_text(f"{describe(case)}\n")
    result, loading = {"outcome": "converted", "detail": ""}, mock.Mock(wraps=convert.load_weights)
    started = time.perf_counter()
    say("converting")
    try:
        with mock.patch.object(convert, "load_weights", loading):
            model = _convert(paths, case)
        result["seconds"] = time.perf_counter() - started
        say("running")
        result["ran"] = _forward(model)
    except ConversionError as error:
        one_line = "\n" not in str(error) and len(str(error)) < MOST_MESSAGE
        result["outcome"] = "ConversionError" if one_line else f"long message, {_place(error)}"
        result["detail"] = str(error)[:MOST_MESSAGE]
    except BaseException as error:  # whatever else comes is what is looked for
        result |= {"outcome": _place(error), "detail": traceback.format_exc()}
    result.setdefault("seconds", time.perf_counter() - started)
    return {**result, "loaded": loading.called}


def _convert(paths: list[Path], case: Case) -> convert.Model:
    """Convert as convert_model.py does, up to the files that it would write."""
    done = preprocessing(None, case.options.get("input_scale"), None, str(paths[0]))
    model = convert.convert_model(*paths, **{**case.options, "input_scale": done.scale})
    assert not any("\n" in note for note in model.notes), model.notes
    names = model.converted.symbol.list_arguments()
    assert mx.sym.load_json(model.converted.symbol.tojson()).list_arguments() == names
    json.loads(model.converted.symbol.tojson())
    if model.converted.heads is not None:
        card = convert.make_card(model.converted, done, None, convert.source_of(*paths))
        Card.from_dict(json.loads(json.dumps(card.to_dict())), "card")
    return model


def _place(error: BaseException) -> str:
    """Return what went wrong and where in the project, or in a library where nothing else is known."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/tools/caffe_converter/" in frame.filename] or frames
    return f"{type(error).__name__} at {Path(own[-1].filename).name}:{own[-1].lineno}"


def _forward(model: convert.Model) -> bool:
    """Run a converted model on a grey image, where it is small; return whether it was."""
    symbol, shape = model.converted.symbol, (1, 3, *model.converted.data_shape)
    if not _is_small(model, shape):
        return False
    args, aux = keep_used(symbol, *model.params)
    executor = symbol.simple_bind(mx.cpu(), grad_req="null", data=shape)
    executor.copy_params_from(args, aux)
    for output in executor.forward(is_train=False, data=mx.nd.full(shape, 0.5)):
        output.asnumpy()
    return True


def _is_small(model: convert.Model, shape: tuple[int, ...]) -> bool:
    """Estimate memory and time of a forward pass from the shapes of the graph."""
    internals, heads = model.converted.symbol.get_internals(), model.converted.heads
    shapes = dict(zip(internals.list_outputs(), internals.infer_shape(data=shape)[1]))
    work = sum(
        math.prod(made) * math.prod(shapes[name[:-6] + "weight"]) / made[1]
        for name, made in shapes.items()
        if name.endswith("_output") and name[:-6] + "weight" in shapes
    )
    if heads is not None:
        most = heads.count if heads.detection.nms_topk < 0 else min(heads.count, heads.detection.nms_topk)
        work += heads.num_classes * most**2
    return 4 * sum(map(math.prod, shapes.values())) < _MOST_ACTIVATIONS and work < _MOST_WORK
