"""demo.py --serve: a local page on which pictures are dropped and looked at; and the same by curl.

The page is sent all detections down to the detector's own score threshold, once; the threshold and the classes are
then chosen in the browser. Flask answers, waitress serves; both are optional and imported where they are needed.
Without the page:

    curl -F image=@photo.jpg http://127.0.0.1:8000/detect
    curl -F image=@photo.jpg 'http://127.0.0.1:8000/detect?threshold=0.5'
    curl http://127.0.0.1:8000/model

POST /detect takes one picture as the form field `image` and answers
    {"file", "size": [width, height],
     "detections": [{"class_id", "class_name", "score", "box": [xmin, ymin, xmax, ymax] in pixels}, ...], best first,
     "score_threshold": all detections above it are here (or above ?threshold, where that is higher),
     "threshold": the one to begin with, a number or one for each class,
     "seconds": {"wait": for pictures before this one, "decode", "detect"},
     "as_browsers_show": false where a browser would not show the picture, or not upright as it was looked at}.
POST /picture takes the same and answers the picture upright, as PNG. GET /model tells names, classes, sizes, limits.
GET /scene?seed=1 draws a scene, where the detector is for those (else 404).
An error is {"error": a sentence}: 400 a damaged picture or no picture sent, 403 another site asks, 413 too many bytes
or pixels, 415 no picture, 503 the server is stopping.

One thread looks at the pictures, in the order in which they come, and requests wait for it: OpenMP starts a team of
threads for each thread that MXNet's operations are called from. Only one picture is decoded at a time, so that memory
stays bounded. Nothing is written to disk.
"""

from detect.serve.app import make_app
from detect.serve.server import serve

__all__ = ["make_app", "serve"]
