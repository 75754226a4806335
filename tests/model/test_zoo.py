"""The zoo: its table against the packages', and fetching from a server on this computer."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import http.server
import json
import re
import subprocess
import sys
import threading
import zipfile

import pytest

from common.checksum import Checksum
from common.errors import CheckpointError, ConfigError
from common.mx import mx
from common.transfer import DownloadError, Transfer
from model import zoo, zoo_gluon
from model.zoo import BACKBONE, DETECTOR, entries, fetch, fetch_files, find, local_path
from model.zoo_classes import COCO, VOC
from symbol.gluon_network import gluon_names
from symbol.presets import network_names

QUICK = Transfer(timeout=5, first_wait=0.01, attempts=2)
NAME = "ssd_mobilenet_512"  # mxnet-ssd's, without a published checksum
GLUON = "ssd_512_resnet50_v1_voc"


@contextlib.contextmanager
def serving(folder):
    """Serve a folder; yields the address and the list of paths asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, form, *args):
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def mirror(tmp_path):
    """An empty mirror: (folder, address, paths asked for)."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    with serving(folder) as (address, asked):
        yield folder, address, asked


def params_bytes(tmp_path, value=1.0):
    path = tmp_path / "some.params"
    mx.nd.save(str(path), {"arg:conv_weight": mx.nd.full((4, 3), value)})
    return path.read_bytes()


def publish(folder, entry, members):
    """Lay an archive where a mirror has an entry's."""
    path = folder / re.sub(r"^https://[^/]+/", "", entry.url)
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def released(tmp_path, value=1.0):
    """The members of mxnet-ssd's archive of mobilenet, as it is laid out, packed on a Mac."""
    return {
        "mobilenet-ssd-512/mobilenet-ssd-512-symbol.json": b'{"nodes": []}',
        "mobilenet-ssd-512/mobilenet-ssd-512-0001.params": params_bytes(tmp_path, value),
        "__MACOSX/mobilenet-ssd-512/._mobilenet-ssd-512-0001.params": b"of the Mac",
        "__MACOSX/mobilenet-ssd-512/._mobilenet-ssd-512-symbol.json": b"of the Mac",
        "mobilenet-ssd-512/._mobilenet-ssd-512-0001.params": b"of the Mac",
    }


def with_sum(name, content):
    """An entry of gluoncv's with the checksum of other parameters than the published ones."""
    return dataclasses.replace(find(name), checksum=Checksum("sha1", hashlib.sha1(content).hexdigest()))


def seen_in(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".downloads")


# The table


def test_names_are_unique_and_each_finds_its_entry():
    names = [entry.name for entry in entries()]
    assert len(set(names)) == len(names) > 100
    assert all(find(name).name == name for name in names)
    files = [local for entry in entries() for _, local in entry.files]
    assert len(set(files)) == len(files)


def test_sums_and_addresses_are_those_that_gluoncv_itself_uses():
    from gluoncv.model_zoo import model_store

    for entry in entries():
        if entry.source != "gluoncv":
            continue
        name = re.search(r"/gluon/models/(.+)-[0-9a-f]{8}\.zip$", entry.url).group(1)
        assert entry.checksum == Checksum("sha1", model_store._model_sha1[name])
        assert entry.url == model_store._url_format.format(
            repo_url=model_store.apache_repo_url, file_name=f"{name}-{model_store.short_hash(name)}"
        )


def test_every_published_name_of_mxnets_zoo_is_there_with_its_own_sum():
    from mxnet.gluon.model_zoo import model_store

    for name, digits in model_store._model_sha1.items():
        here = {find(name).checksum.digits}
        with contextlib.suppress(ConfigError):
            here.add(find(f"mxnet:{name}").checksum.digits)
        assert digits in here, name


def test_the_backbones_are_networks_that_gluoncv_or_mxnet_builds():
    from gluoncv.model_zoo import get_model_list

    known = {*get_model_list(), *(name for name in gluon_names() if name.startswith("mxnet:"))}
    backbones = [entry for entry in entries() if entry.kind == BACKBONE and entry.source != "mxnet-ssd"]
    assert {entry.network for entry in backbones} <= {f"gluon:{name}" for name in known}
    assert len(backbones) > 90


def test_what_gluoncv_publishes_for_other_tasks_is_not_there():
    for name in (
        "faster_rcnn_resnet50_v1b_voc",
        "cifar_resnet20_v1",
        "resnet18_v1b_kinetics400",
        "smot_ssd_bifpn",
    ):
        with pytest.raises(ConfigError, match="no such weights"):
            find(name)


def test_class_names_are_those_of_gluoncv():
    from gluoncv.data import COCODetection, VOCDetection

    assert tuple(VOCDetection.CLASSES) == VOC
    assert tuple(COCODetection.CLASSES) == COCO


def test_detectors_have_classes_and_an_input_as_in_their_names():
    for entry in entries():
        if entry.kind == DETECTOR:
            assert str(entry.data_shape[0]) in entry.name
            assert entry.classes == (COCO if "coco" in entry.name else VOC)
            assert entry.score is None or 10 < entry.score < 90
            assert bool(entry.metric) == (entry.score is not None)


def test_mxnet_ssds_networks_are_presets():
    stated = {entry.network for entry in entries() if entry.source == "mxnet-ssd"}
    assert stated <= set(network_names())


def test_mxnet_ssds_weights_want_the_mean_that_its_networks_have():
    from symbol.presets import network_config

    for entry in entries():
        if entry.source == "mxnet-ssd" and entry.kind == DETECTOR:
            config = network_config(entry.network, entry.data_shape, 20)
            assert (entry.mean, entry.std) == (config.mean, config.std)


def test_an_unknown_name_gets_the_closest_ones():
    with pytest.raises(ConfigError, match="did you mean ssd_resnet50_512"):
        find("ssd_resnet50_521")


def test_a_networks_name_finds_its_weights():
    assert find("gluon:resnet50_v1b") == find("resnet50_v1b")


def test_the_table_needs_neither_gluoncv_nor_mxnet_imported(project_root):
    code = "import sys; from model.zoo import find; find('resnet18_v1'); print({'mxnet', 'gluoncv'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project_root, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "set()"


def test_without_gluoncv_mxnet_ssds_part_is_left(monkeypatch, caplog):
    zoo_gluon.read_store.cache_clear()
    monkeypatch.setattr(zoo_gluon.importlib.util, "find_spec", lambda name: None)
    assert {entry.source for entry in entries()} == {"mxnet-ssd"}
    assert "needs the Python package gluoncv" in caplog.text
    zoo_gluon.read_store.cache_clear()


def test_a_store_laid_out_otherwise_is_told(tmp_path, monkeypatch, caplog):
    zoo_gluon.read_store.cache_clear()
    (tmp_path / "model_zoo").mkdir()
    (tmp_path / "model_zoo" / "model_store.py").write_text("_model_sha1 = load()\n")
    found = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})
    monkeypatch.setattr(zoo_gluon.importlib.util, "find_spec", lambda name: found)
    assert {entry.source for entry in entries()} == {"mxnet-ssd"}
    assert "not the table of weights that is known here" in caplog.text
    zoo_gluon.read_store.cache_clear()


# Fetching


def test_a_release_lands_under_the_names_that_demo_looks_for(mirror, tmp_path):
    folder, address, asked = mirror
    members = released(tmp_path)
    publish(folder, find(NAME), members)
    root = tmp_path / "model"
    path = fetch(NAME, root, url_base=address, transfer=QUICK)
    assert path == local_path(find(NAME), root) == root / "ssd_mobilenet_512-0000.params"
    assert seen_in(root) == [
        "ssd_mobilenet_512-0000.params",
        "ssd_mobilenet_512-symbol.json",
        "ssd_mobilenet_512.names",
    ]
    assert path.read_bytes() == members["mobilenet-ssd-512/mobilenet-ssd-512-0001.params"]
    assert (root / "ssd_mobilenet_512.names").read_text().split() == list(VOC)
    assert list(root.rglob("*.zip")) == []
    assert asked == ["/zhreshold/mxnet-ssd/releases/download/v0.7-alpha/mobilenet-ssd-512.zip"]


def test_what_is_there_and_good_is_not_fetched_again(mirror, tmp_path):
    folder, address, asked = mirror
    publish(folder, find(NAME), released(tmp_path))
    first = fetch_files(find(NAME), tmp_path / "model", url_base=address, transfer=QUICK)
    second = fetch_files(find(NAME), tmp_path / "model", url_base=address, transfer=QUICK)
    assert (first.new, second.new, first.sha256 == second.sha256) == (True, False, True)
    assert first.url.startswith(address)
    assert len(asked) == 1
    assert fetch_files(find(NAME), tmp_path / "model", force=True, url_base=address, transfer=QUICK).new
    assert len(asked) == 2


def test_a_missing_file_of_several_is_fetched_again(mirror, tmp_path):
    folder, address, asked = mirror
    publish(folder, find(NAME), released(tmp_path))
    path = fetch(NAME, tmp_path / "model", url_base=address, transfer=QUICK)
    path.unlink()
    fetch(NAME, tmp_path / "model", url_base=address, transfer=QUICK)
    assert path.is_file()
    assert len(asked) == 2


def test_without_a_published_checksum_the_first_download_binds_the_second(mirror, tmp_path):
    folder, address, _ = mirror
    published = publish(folder, find(NAME), released(tmp_path))
    root = tmp_path / "model"
    path = fetch(NAME, root, url_base=address, transfer=QUICK)
    first = hashlib.sha256(published.read_bytes()).hexdigest()
    assert json.loads((root / ".downloads" / f"{NAME}.json").read_text())["sha256"] == first
    path.unlink()
    published = publish(folder, find(NAME), released(tmp_path, value=2.0))
    second = hashlib.sha256(published.read_bytes()).hexdigest()
    with pytest.raises(
        DownloadError, match=f"sha256 is {second}, that of the first download was {first}.*--force"
    ):
        fetch(NAME, root, url_base=address, transfer=QUICK)
    assert not path.exists()
    fetch(NAME, root, force=True, url_base=address, transfer=QUICK)
    assert mx.nd.load(str(path))["arg:conv_weight"].asnumpy().tolist() == [[2.0] * 3] * 4


def test_gluoncvs_weights_are_held_to_the_published_sum(mirror, tmp_path):
    folder, address, _ = mirror
    content = params_bytes(tmp_path)
    entry = with_sum(GLUON, content)
    publish(folder, entry, {f"{GLUON}-9c8b225a.params": content})
    fetched = fetch_files(entry, tmp_path / "model", url_base=address, transfer=QUICK)
    assert fetched.params == tmp_path / "model" / f"{GLUON}.params"
    assert seen_in(tmp_path / "model") == [f"{GLUON}.params"]


def test_other_weights_than_the_published_ones_never_get_the_name(mirror, tmp_path):
    folder, address, asked = mirror
    content = params_bytes(tmp_path)
    publish(folder, find(GLUON), {f"{GLUON}-9c8b225a.params": content})
    for _ in range(2):  # what came is not taken for good at the second try
        with pytest.raises(DownloadError) as caught:
            fetch(GLUON, tmp_path / "model", url_base=address, transfer=QUICK)
        assert hashlib.sha1(content).hexdigest() in str(caught.value)
        assert find(GLUON).checksum.digits in str(caught.value)
    assert len(asked) == 2
    assert seen_in(tmp_path / "model") == []


def test_weights_that_were_put_there_by_hand_are_taken_if_they_are_the_published_ones(mirror, tmp_path):
    content = params_bytes(tmp_path)
    (tmp_path / f"{GLUON}.params").write_bytes(content)
    fetched = fetch_files(with_sum(GLUON, content), tmp_path, url_base=mirror[1], transfer=QUICK)
    assert not fetched.new
    assert mirror[2] == []


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", [NAME, GLUON])
def test_a_file_of_the_users_own_is_never_replaced(mirror, tmp_path, name, force):
    path = local_path(find(name), tmp_path)
    path.write_bytes(b"mine")
    with pytest.raises(CheckpointError, match="a file of yours, or a damaged one"):
        fetch(name, tmp_path, force=force, url_base=mirror[1], transfer=QUICK)
    assert path.read_bytes() == b"mine"
    assert mirror[2] == []


def test_a_fetched_file_that_was_changed_is_the_users_own(mirror, tmp_path):
    folder, address, _ = mirror
    publish(folder, find(NAME), released(tmp_path))
    path = fetch(NAME, tmp_path / "model", url_base=address, transfer=QUICK)
    path.write_bytes(b"trained on")
    with pytest.raises(CheckpointError, match="move it away"):
        fetch(NAME, tmp_path / "model", force=True, url_base=address, transfer=QUICK)
    assert path.read_bytes() == b"trained on"


def test_class_names_of_the_users_own_stay(mirror, tmp_path):
    folder, address, _ = mirror
    publish(folder, find(NAME), released(tmp_path))
    root = tmp_path / "model"
    root.mkdir()
    (root / f"{NAME}.names").write_text("my\nown\n")
    fetch(NAME, root, url_base=address, transfer=QUICK)
    assert (root / f"{NAME}.names").read_text() == "my\nown\n"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"mobilenet-ssd-512/mobilenet-ssd-512-symbol.json": None},
            r"expected one file \*-symbol\.json .* found 0",
        ),
        ({"other-0007.params": b"x"}, r"found 2; it holds .*other-0007\.params"),
        ({"../evil-0001.params": b"x"}, "leads out of the folder"),
        ({"mobilenet-ssd-512/mobilenet-ssd-512-0001.params": b"<html>"}, "an HTML page"),
    ],
)
def test_an_archive_that_is_not_what_it_should_be_leaves_nothing(mirror, tmp_path, change, words):
    folder, address, _ = mirror
    members = {**released(tmp_path), **change}
    publish(folder, find(NAME), {name: content for name, content in members.items() if content is not None})
    with pytest.raises(DownloadError, match=words):
        fetch(NAME, tmp_path / "model", url_base=address, transfer=QUICK)
    assert seen_in(tmp_path / "model") == []
    assert list((tmp_path / "model").rglob("*.zip")) == []
    publish(folder, find(NAME), released(tmp_path))
    fetch(NAME, tmp_path / "model", url_base=address, transfer=QUICK)  # and does not bind the next


def test_a_deployed_copy_beside_the_graph_is_left_out(mirror, tmp_path):
    folder, address, _ = mirror
    members = released(tmp_path)
    members |= {"deploy_ssd-symbol.json": b"{}", "deploy_ssd-0001.params": b"x"}
    publish(folder, find(NAME), members)
    path = fetch(NAME, tmp_path / "model", url_base=address, transfer=QUICK)
    assert path.read_bytes() == params_bytes(tmp_path)


def test_a_cut_download_is_kept_for_the_next_call(mirror, tmp_path):
    """What the server sent in an earlier call is not asked for again."""
    folder, address, _ = mirror
    entry = find(NAME)
    published = publish(folder, entry, released(tmp_path))
    begun = tmp_path / "model" / ".downloads" / NAME / "mobilenet-ssd-512.zip.part"
    begun.parent.mkdir(parents=True)
    begun.write_bytes(published.read_bytes())
    notes = {
        "url": f"{address}/{published.relative_to(folder)}",
        "mark": "x",
        "total": published.stat().st_size,
    }
    begun.with_name(f"{begun.name}.json").write_text(json.dumps(notes))
    published.unlink()
    assert fetch(NAME, tmp_path / "model", url_base=address, transfer=QUICK).is_file()


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="choose another place"):
        fetch(NAME, tmp_path / "file", transfer=QUICK)


def test_damaged_notes_are_told(mirror, tmp_path):
    (tmp_path / ".downloads").mkdir()
    (tmp_path / ".downloads" / f"{NAME}.json").write_text("{")
    with pytest.raises(CheckpointError, match="delete it to start anew"):
        fetch(NAME, tmp_path, url_base=mirror[1], transfer=QUICK)


def test_a_mirror_over_http_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="https://"):
        fetch(NAME, tmp_path, url_base="http://mirror.example", transfer=QUICK)


def test_a_second_fetch_at_once_is_refused(mirror, tmp_path):
    from common.files import exclusive_lock

    folder = tmp_path / "model" / ".downloads" / NAME
    with (
        exclusive_lock(folder / ".lock", "x"),
        pytest.raises(ConfigError, match=f"{NAME}: the download is in use by another process"),
    ):
        fetch(NAME, tmp_path / "model", url_base=mirror[1], transfer=QUICK)


def test_nothing_is_fetched_by_looking(monkeypatch, tmp_path):
    monkeypatch.setattr(zoo, "download", lambda *args, **kwargs: pytest.fail("fetched"))
    for entry in entries():
        assert not local_path(entry, tmp_path).exists()
