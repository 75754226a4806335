"""The Flask application of demo.py --serve: the page's files, the model, and pictures in, detections out.

The interface is described in `detect.serve`. Errors are answered as JSON with one sentence, without a path of this
machine. Deviation from Flask's habits: uploads are held in memory whole, where Werkzeug would write large ones to disk.
"""

from __future__ import annotations

import functools
import io
import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from common.errors import ConfigError, ImageError, SSDError
from common.libraries import require
from detect.detector import Detector
from detect.serve.about import describe
from detect.serve.guard import HEADERS, own_names, refusal
from detect.serve.looker import Looker, Stopped, encode_png
from detect.serve.size import MAX_PIXELS, TooManyPixels

_log = logging.getLogger(__name__)
_PAGE = Path(__file__).parent / "page"
_FILES = {  # what is served of that folder, and as what
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "page.js": "text/javascript; charset=utf-8",
    "boxes.js": "text/javascript; charset=utf-8",
    "choice.js": "text/javascript; charset=utf-8",
    "downloads.js": "text/javascript; charset=utf-8",
    "highlight.js": "text/javascript; charset=utf-8",
    "server.js": "text/javascript; charset=utf-8",
}
MEGABYTE = 1_000_000
NEEDING, WHEELS = "--serve needs", "flask waitress"
_FORM = 65_536  # bytes that the form around an upload may take
_SCENE_SIZE = (480, 480)  # (width, height)


def make_app(
    detector: Detector | Looker,
    *,
    threshold: float | Sequence[float] | np.ndarray = 0.5,
    max_upload_mb: float = 20,
    max_pixels: int = MAX_PIXELS,
    host: str | Sequence[str] = "127.0.0.1",
):
    """Make the application; it writes nothing and starts nothing but the thread that looks at pictures.

    Args:
        detector: used by the application alone from now on; or a Looker that has it.
        threshold: the score above which the page shows detections at first, one number or (C,) one for each class.
        max_upload_mb: a picture's file at most, in millions of bytes.
        max_pixels: a picture's pixels at most, 3/8 of that for grey of over 8 bits; a Looker has its own limit.
        host: that it is served on, the name and the address where they differ; requests to another name are refused,
            unless it is 0.0.0.0 or :: (everywhere).

    Returns:
        flask.Flask.

    Raises:
        ConfigError: a threshold or a limit cannot be.
        DependencyError: Flask is not installed.
    """
    flask = require("flask", NEEDING, WHEELS)
    if not max_upload_mb > 0:
        raise ConfigError(f"max_upload_mb is {max_upload_mb!r}, expected a number above 0 (megabytes)")
    if not max_pixels > 0:
        raise ConfigError(f"max_pixels is {max_pixels!r}, expected a number above 0")
    looker = detector if isinstance(detector, Looker) else Looker(detector, max_pixels)
    limit = round(max_upload_mb * MEGABYTE)
    app = flask.Flask("detect.serve", static_folder=None, template_folder=None)
    app.request_class = _request_class(flask)
    app.json.sort_keys = False
    app.config.update(MAX_CONTENT_LENGTH=limit + _FORM, DEBUG=False)
    about = describe(looker.detector, threshold, limit)
    _add_guard(app, own_names(*([host] if isinstance(host, str) else host)))
    _add_errors(app, limit)
    _add_page(app, about)
    _add_detection(app, looker, about)
    return app


def _request_class(flask):
    """Return a class of requests that hold an upload in memory; Werkzeug's go to disk from 500 kB on."""

    class Request(flask.Request):
        def _get_file_stream(self, *args, **kwargs):
            return io.BytesIO()

    return Request


def _add_guard(app, names: frozenset[str] | None) -> None:
    """Refuse requests of other sites, put the headers on every answer, and log a line for each."""
    flask = require("flask", NEEDING, WHEELS)

    @app.before_request
    def check():
        flask.g.began = time.perf_counter()
        reason = refusal(flask.request.method, flask.request.headers, names)
        return ({"error": reason}, 403) if reason else None

    @app.after_request
    def finish(response):
        response.headers.update(HEADERS)
        seconds = time.perf_counter() - flask.g.get("began", time.perf_counter())
        _log.debug("%s %s %d %.3f s", flask.request.method, flask.request.path, response.status_code, seconds)
        return response


def _add_errors(app, limit: int) -> None:
    """Answer every error as {"error": sentence}."""
    flask = require("flask", NEEDING, WHEELS)
    from PIL import UnidentifiedImageError
    from werkzeug.exceptions import HTTPException

    @app.errorhandler(ImageError)
    def no_picture(error):
        return {"error": str(error)}, 415 if isinstance(error.__cause__, UnidentifiedImageError) else 400

    @app.errorhandler(TooManyPixels)
    def too_many_pixels(error):
        return {"error": str(error)}, 413

    @app.errorhandler(Stopped)
    def stopped(error):
        return {"error": str(error)}, 503

    @app.errorhandler(413)
    def too_large(error):
        size = flask.request.content_length or 0
        if size <= limit + _FORM:  # Werkzeug holds fields that are no files to less
            return {"error": "the form has too much that is no file: send the picture alone, as a file"}, 413
        return {"error": too_large_sentence(size, limit)}, 413

    @app.errorhandler(HTTPException)
    def as_json(error):
        return {"error": f"{error.name}: {flask.request.method} {flask.request.path}"}, error.code

    @app.errorhandler(Exception)
    def unforeseen(error):
        # The text may name files of this machine: it is for the terminal, not for the answer.
        if isinstance(error, SSDError):
            _log.error("error: %s", error)
        else:
            _log.exception("%s %s failed", flask.request.method, flask.request.path)
        return {
            "error": f"the detector could not do this ({type(error).__name__}): the terminal that it was"
            " started in says why"
        }, 500


def too_large_sentence(size: int, limit: int) -> str:
    """Say that an upload is too large, in bytes where megabytes would look the same."""
    sizes = [f"{number / MEGABYTE:.3g} MB" for number in (size, limit)]
    if sizes[0] == sizes[1]:
        sizes = [f"{number} bytes" for number in (size, limit)]
    return f"the upload has {sizes[0]}, the limit is {sizes[1]}: make the picture smaller"


def _add_page(app, about: dict) -> None:
    """Serve the page's files, the model's description, and scenes where the detector is for them."""
    flask = require("flask", NEEDING, WHEELS)

    for name, kind in _FILES.items():
        app.add_url_rule(f"/{name}", name, functools.partial(_file, flask.Response, name, kind))
    app.add_url_rule("/", "page", app.view_functions["index.html"])

    @app.get("/model")
    def model():
        return about

    @app.get("/scene")
    def scene():
        from dataset.scenes import draw_scene

        seed = flask.request.args.get("seed", "0")
        if not about["draws_scenes"]:
            return {"error": "this detector is not for drawn scenes: send it a picture"}, 404
        if not seed.isdecimal() or len(seed) > 9:
            return {"error": f"seed={seed}: expected a whole number of up to nine digits"}, 400
        pixels = draw_scene(int(seed), _SCENE_SIZE, empty_share=0.0)[0]
        return flask.Response(encode_png(pixels), content_type="image/png")


def _file(response, name: str, kind: str):
    """Answer one of the page's files."""
    return response((_PAGE / name).read_bytes(), content_type=kind)


def _add_detection(app, looker: Looker, about: dict) -> None:
    """Take pictures."""
    flask = require("flask", NEEDING, WHEELS)
    limit = about["max_upload_bytes"]

    def takes_picture(function):
        """Hand the uploaded file to a function (data, name), or answer what is wrong with the request."""

        @functools.wraps(function)
        def view():
            uploads = flask.request.files.getlist("image")
            if len(uploads) != 1:
                return {"error": _not_one(len(uploads), list(flask.request.files))}, 400
            data = uploads[0].stream.read()
            if len(data) > limit:
                return {"error": too_large_sentence(len(data), limit)}, 413
            return function(data, _printable(uploads[0].filename))

        return view

    @app.post("/detect")
    @takes_picture
    def detect(data, name):
        given = flask.request.args.get("threshold")
        threshold = 0.0 if given is None else _number(given)
        if threshold is None:
            return {"error": f"threshold={given}: expected a number from 0 to below 1"}, 400
        look = looker.look(data, name)
        found = look.found if given is None else look.found.above(threshold)
        return {
            "file": name,
            "size": list(found.size),
            "detections": found.as_records(),
            "score_threshold": max(about["score_threshold"], threshold),
            "threshold": about["threshold"] if given is None else threshold,
            "seconds": {part: round(value, 6) for part, value in look.seconds.items()},
            "as_browsers_show": look.as_browsers_show,
        }

    @app.post("/picture")
    @takes_picture
    def picture(data, name):
        return flask.Response(looker.upright(data, name), content_type="image/png")


def _not_one(count: int, fields: list[str]) -> str:
    """Say that a request has no picture, or several."""
    if count:
        return f"{count} pictures in one request: send one at a time"
    others = f" (found the fields {', '.join(map(repr, sorted(fields)))})" if fields else ""
    return f"no picture in the form field 'image'{others}: send one, as in curl -F image=@photo.jpg ADDRESS/detect"


def _number(text: str) -> float | None:
    """Read a threshold; None where it cannot be one."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and 0 <= value < 1 else None


def _printable(name: str | None) -> str:
    """Return the name of an upload without folders and control characters; a browser may send anything."""
    last = PurePosixPath((name or "").replace("\\", "/")).name
    return "".join(letter if letter.isprintable() else "�" for letter in last)[:200] or "picture"
