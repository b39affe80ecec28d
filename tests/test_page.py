"""The page's server: what it answers, to whom, and that nothing that is sent to it brings it down."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import http.client
import io
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from quick import quick_run
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from taut.errors import InputError
from taut.explore import nearest, pictures, plane, read_picture, standard_prior
from taut.page import server as served
from taut.page.answers import Question, read
from taut.page.catalogue import Catalogue, example_kind, identity
from taut.page.desk import Desk
from taut.page.frames import pack, unpack
from taut.page.server import Office, bind, opened

SMALL = {"part": "MLP", "hidden": [16]}
KINDS = {
    "flat": {"latents": 2},
    "layers": {"layers": [{"part": "Plain", "latents": 3}, {"part": "Plain", "latents": 4}]},
    "choices": {"latents": 4, "posterior": {"part": "Categorical", "categories": 3}},
    "codes": {"latents": 4, "posterior": {"part": "VectorQuantised", "codes": 8, "width": 2}},
    "sphere": {"latents": 4, "posterior": {"part": "VonMisesFisher"}},
    "vamp": {"latents": 3, "prior": {"part": "Vamp", "components": 4}},
    "pixels": {"layers": [], "likelihood": {"part": "PixelCNN", "channels": 4, "kernels": [3, 3], "maps": 2}},
}


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Path:
    """A folder with a run of each kind."""
    root = tmp_path_factory.mktemp("page") / "runs"
    for name, model in KINDS.items():
        quick_run(root / name, network=SMALL, **model)
    np.save(root / "waves.npy", np.random.default_rng(0).normal(size=(60, 24)))
    quick_run(root / "deep" / "signal", root / "waves.npy", network=SMALL, latents=2)
    table = root / "cells.csv"
    rows = np.random.default_rng(0).normal(size=(60, 3))
    table.write_text("length,width,weight\n" + "".join(f"{a:.3f},{b:.3f},{c:.3f}\n" for a, b, c in rows))
    quick_run(root / "table", table, network=SMALL, latents=2)
    colours = np.random.default_rng(0).integers(0, 256, size=(40, 8, 8, 3), dtype=np.uint8)
    np.save(root / "colours.npy", colours)
    quick_run(root / "colours", root / "colours.npy", network=SMALL, latents=2)
    return root


@contextlib.contextmanager
def serving(folders):
    """A server in a thread of its own, and how to speak to it."""
    office = Office(Catalogue(folders))
    server, listening, address = opened(office, port=None)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    parts = urlsplit(address)
    it = SimpleNamespace(
        address=address, host=parts.netloc, port=parts.port, token=parts.query.removeprefix("token="), office=office
    )
    status, headers, _ = fetch(it, f"/?{parts.query}", {})
    assert status == 200
    it.cookie = headers["set-cookie"].split(";")[0]
    yield it
    server.should_exit = True
    thread.join(10)
    office.close()
    listening.close()
    assert not thread.is_alive()


@pytest.fixture(scope="session")
def site(runs):
    with serving([runs]) as it:
        yield it


def fetch(it, path, headers=None, method="GET"):
    """Status, headers and body of a request; with the cookie unless other headers are given."""
    connection = http.client.HTTPConnection("127.0.0.1", it.port, timeout=20)
    try:
        connection.request(method, path, headers={"Cookie": it.cookie} if headers is None else headers)
        response = connection.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    finally:
        connection.close()


@contextlib.contextmanager
def speaking(it, origin="own", host=None, cookie=True):
    """A socket to the server, with the headers that a browser would send."""
    from websockets.sync.client import connect

    origin = f"http://{it.host}" if origin == "own" else origin
    headers = {"Cookie": it.cookie} if cookie else {}
    where = f"ws://{host or it.host}/socket"
    line = socket.create_connection(("127.0.0.1", it.port))
    with (
        line,
        connect(where, sock=line, origin=origin, additional_headers=headers, max_size=None, open_timeout=20) as ws,
    ):
        yield ws


def ask(ws: ClientConnection, run: str, kind: str, **fields):
    """The answer's plain values and arrays."""
    ws.send(json.dumps({"id": 1, "run": run, "kind": kind, "fields": fields}))
    return unpack(ws.recv(timeout=60))


def known(runs: Path, name: str) -> str:
    return identity(runs / name)


# ---- frames


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64", "int64", "bool", "float16"])
def test_frames_come_back_as_they_were(dtype):
    array = (np.arange(15).reshape(3, 5) % 2).astype(dtype)
    meta, arrays = unpack(
        pack({"id": 3, "kind": "x", "said": "é"}, {"a": array, "none": np.zeros((0, 4)), "b": array.T})
    )
    assert meta == {"id": 3, "kind": "x", "said": "é"}
    np.testing.assert_array_equal(arrays["a"], array)
    np.testing.assert_array_equal(arrays["b"], array.T)
    assert arrays["none"].shape == (0, 4)


def test_arrays_of_a_frame_start_at_multiples_of_eight():
    for words in ("", "a", "ab", "abcdefg"):
        frame = pack({"id": 1, "kind": words}, {"a": np.arange(3, dtype=np.uint8), "b": np.arange(2.0)})
        length = int.from_bytes(frame[:4], "little")
        assert (4 + length) % 8 == 0
        assert np.frombuffer(frame, np.float64, 2, 4 + length + 8).tolist() == [0, 1]


# ---- which runs there are


def test_runs_are_found_below_a_folder_and_read_without_torch(runs):
    code = (
        f"import sys; from taut.page.catalogue import Catalogue; c = Catalogue([{str(runs)!r}]); "
        "print(sorted((e.name, e.brief()['x'], e.full()['failure']) for e in c.entries())); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in KINDS:
        assert f"('{name}', 'image', None)" in done.stdout
    assert "('deep/signal', 'signal', None)" in done.stdout and "('table', 'table', None)" in done.stdout


def test_folders_without_runs_are_named(tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        Catalogue([tmp_path / "none"])
    with pytest.raises(InputError, match="holds no run"):
        Catalogue([tmp_path])


def test_a_run_in_training_and_a_damaged_one_are_told_apart(runs, tmp_path):
    for name in ("training", "damaged"):
        (tmp_path / name).mkdir()
        for file in ("config.yaml", "data.json"):
            (tmp_path / name / file).write_bytes((runs / "flat" / file).read_bytes())
    row = {"step": 1, "split": "valid", "elbo": -3.0}
    (tmp_path / "training" / "metrics.jsonl").write_text(json.dumps(row) + '\n{"step": 2, "spl')
    (tmp_path / "damaged" / "data.json").write_text("[" * 100_000)
    damaged, training = Catalogue([tmp_path]).entries()
    assert "is damaged" in damaged.full()["failure"]
    assert training.full()["failure"] is None and not training.finished
    assert training.metrics == [row]


def test_points_of_a_sweep_know_it(runs, tmp_path):
    point = tmp_path / "sweep" / "objective.beta=2"
    point.mkdir(parents=True)
    for file in ("config.yaml", "data.json"):
        (point / file).write_bytes((runs / "flat" / file).read_bytes())
    record = {"points": [{"folder": point.name, "values": {"objective.beta": 2}}]}
    (point.parent / "sweep.json").write_text(json.dumps(record))
    (entry,) = Catalogue([tmp_path]).entries()
    assert entry.sweep["name"] == "sweep" and entry.sweep["options"] == {"objective.beta": 2}


def test_runs_are_in_the_order_of_their_numbers(runs, tmp_path):
    for name in ("beta=10", "beta=3", "beta=0.3"):
        (tmp_path / name).mkdir()
        for file in ("config.yaml", "data.json"):
            (tmp_path / name / file).write_bytes((runs / "flat" / file).read_bytes())
    assert [entry.name for entry in Catalogue([tmp_path]).entries()] == ["beta=0.3", "beta=3", "beta=10"]


def test_what_an_example_is():
    assert example_kind({"layout": "vector", "columns": None, "raw_shape": [4]}) == "vector"
    assert example_kind({"layout": "vector", "columns": ["a"], "raw_shape": [1]}) == "table"


# ---- who may speak


def test_without_the_token_nothing_is_given(site, runs):
    for path in ("/", "/?token=wrong", "/?token=", "/static/app.js", "/api/runs", f"/api/runs/{known(runs, 'flat')}"):
        status, _, body = fetch(site, path, {})
        assert status == 403 and b"token" in body, path
    assert fetch(site, "/api/runs", {"Cookie": 'taut-1=x; a"=;;'})[0] == 403
    assert fetch(site, f"/api/runs?token={site.token}", {})[0] == 403  # the address is for the page alone
    with pytest.raises(InvalidStatus), speaking(site, cookie=False):
        pass


def test_the_cookie_is_strict_and_every_answer_has_the_policy(site):
    _, headers, body = fetch(site, f"/?token={site.token}", {})
    assert "HttpOnly" in headers["set-cookie"] and "SameSite=Strict" in headers["set-cookie"]
    assert site.token not in headers["set-cookie"] and site.token.encode() not in body
    for path, status in (
        ("/", 200),
        ("/static/app.js", 200),
        ("/static/none.js", 404),
        ("/api/runs", 200),
        ("/none", 404),
    ):
        found, headers, _ = fetch(site, path)
        assert found == status, path
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and f"ws://{site.host}" in policy and "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.evil:{port}", "x"]
)
def test_a_foreign_name_that_points_here_is_refused(site, host):
    host = host.format(port=site.port)
    for headers in ({"Host": host, "Cookie": site.cookie}, {"Host": host}):
        status, _, body = fetch(site, f"/?token={site.token}", headers)
        assert status == 403 and b"Host" in body
    with pytest.raises(InvalidStatus), speaking(site, host=host, origin=f"http://{host}"):
        pass


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://{host}", "http://127.0.0.1:1", None])
def test_another_site_may_not_open_a_socket(site, origin):
    with pytest.raises(InvalidStatus), speaking(site, origin=origin and origin.format(host=site.host)):
        pass
    if origin:
        headers = {"Cookie": site.cookie, "Origin": origin.format(host=site.host)}
        assert fetch(site, "/api/runs", headers)[0] == 403


def test_another_site_may_lead_here_and_do_no_more(site):
    across = {"Cookie": site.cookie, "Sec-Fetch-Site": "cross-site"}
    assert fetch(site, "/static/app.js", across)[0] == 403
    assert fetch(site, "/", across)[0] == 403
    assert fetch(site, f"/?token={site.token}", {"Sec-Fetch-Site": "cross-site"})[0] == 200


def test_no_path_leads_out(site, runs):
    names = (
        "..%2f..%2fserver.py",
        "../server.py",
        "%2e%2e/server.py",
        "/etc/passwd",
        "..\\server.py",
        "%00",
        "views/../../guard.py",
    )
    for name in names:
        assert fetch(site, f"/static/{name}")[0] in (400, 403, 404), name
        assert fetch(site, f"/api/runs/{name}")[0] in (400, 403, 404), name
    with speaking(site) as ws:
        for name in ("../flat", str(runs / "flat"), "", "flat", ".", "\0", "x" * 10_000):
            assert "run" in ask(ws, name, "model")[0]["error"]


def test_other_methods_are_refused(site):
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert fetch(site, "/api/runs", method=method)[0] in (404, 405)


def test_listening_to_all_the_world_still_knows_its_names():
    from taut.page.guard import Guard

    wide, narrow = Guard(None, "0.0.0.0", 80, "t"), Guard(None, "127.0.0.1", 80, "t")
    assert wide._own("192.168.0.3:80") and not narrow._own("192.168.0.3:80")
    for guard in (wide, narrow):
        assert guard._own("localhost:80") and guard._own("[::1]:80")
        assert not guard._own("evil.example:80") and not guard._own("127.0.0.1.evil.example:80")


def test_a_port_that_is_taken_is_told_or_passed_over(monkeypatch):
    with bind("127.0.0.1", 0) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"--port: {number} is not free"):
            bind("127.0.0.1", number)
        monkeypatch.setattr(served, "PORT", number)
        with bind("127.0.0.1", None) as free:
            assert free.getsockname()[1] != number
    with pytest.raises(InputError, match="--host"):
        bind("no.such.name.invalid", 1)


# ---- what is answered


def test_the_list_and_a_run(site, runs):
    found = json.loads(fetch(site, "/api/runs")[2])
    assert {run["name"] for run in found["runs"]} == {*KINDS, "deep/signal", "table", "colours"}
    assert {"map", "latents", "between", "samples"} <= set(found["views"])
    run = json.loads(fetch(site, f"/api/runs/{known(runs, 'layers')}")[2])
    assert [layer["latents"] for layer in run["layers"]] == [3, 4]
    assert run["facts"]["label_names"] == [str(i) for i in range(10)] and run["reading"]["shape"] == [1, 8, 8]
    assert fetch(site, "/api/runs/nothing")[0] == 404


@pytest.mark.parametrize("name", [*KINDS, "deep/signal", "table", "colours"])
def test_every_kind_of_model_answers(site, runs, name):
    with speaking(site) as ws:

        def asked(kind, **fields):
            meta, arrays = ask(ws, known(runs, name), kind, **fields)
            assert meta["kind"] == kind, meta
            return meta, arrays

        samples = asked("sample", n=5)[1]["x"]
        assert len(samples) == 5
        picture = {"deep/signal": (24,), "table": (3,), "colours": (8, 8, 3)}.get(name, (8, 8))
        assert samples.shape[1:] == picture
        model, values = asked("model")
        if name == "pixels":
            assert model["latents"] == 0
            for kind, fields in (("map", {}), ("look", {"at": [0, 0]}), ("decode", {"z": [0]}), ("draw", {"seed": 0})):
                meta, _ = ask(ws, known(runs, name), kind, **fields)
                assert "no latents" in meta["error"]
            return
        width = model["latents"]
        assert sum(layer["size"] for layer in model["layers"]) == width
        seen, points = asked("map")
        assert points["at"].shape == (seen["n"], 2) and seen["standard"] == (
            name not in ("choices", "codes", "sphere", "vamp")
        )
        looked, arrays = asked("look", at=[0.5, -0.5])
        assert arrays["x"].shape == (1, *picture) and 0 <= looked["nearest"] < seen["n"]
        assert len(asked("grid", low=[-1, -1], high=[1, 1], size=3)[1]["x"]) == 9
        _, some = asked("examples", index=[0, 1, 2], codes=True)
        assert some["x"].shape == (3, *picture) and some["z"].shape == (3, width)
        a, b = some["z"][0].tolist(), some["z"][1].tolist()
        way = asked("between", a=a, b=b, steps=4)[1]
        np.testing.assert_allclose(way["x"][0], asked("decode", z=a)[1]["x"][0], atol=1)
        np.testing.assert_allclose(way["z"][-1], some["z"][1])
        drawn = asked("draw", seed=4)[1]["z"]
        np.testing.assert_array_equal(drawn, asked("draw", seed=4)[1]["z"])
        kept = asked("resample", z=a, keep=len(model["layers"]), seed=1)[1]["z"]
        np.testing.assert_allclose(kept[0], a, atol=1e-5)
        for i, layer in enumerate(model["layers"]):
            if layer["choices"]:
                assert values[f"values{i}"].shape == (layer["choices"], layer["block"])


def test_without_its_data_a_run_still_decodes(runs, tmp_path):
    data = np.random.default_rng(0).normal(size=(40, 6, 6))
    quick_run(tmp_path / "memory", data, network=SMALL, latents=2)
    with serving([tmp_path]) as it, speaking(it) as ws:
        run = known(tmp_path, "memory")
        assert ask(ws, run, "decode", z=[0.0, 1.0])[1]["x"].shape == (1, 6, 6)
        assert len(np.unique(ask(ws, run, "sample", n=9)[1]["x"])) > 20
        assert "not to be had" in ask(ws, run, "map")[0]["error"]


def test_layers_below_are_drawn_anew_and_those_above_are_kept(site, runs):
    with speaking(site) as ws:
        run = known(runs, "layers")
        z = ask(ws, run, "draw", seed=0)[1]["z"][0]
        first, second = (ask(ws, run, "resample", z=z.tolist(), keep=1, seed=seed)[1]["z"][0] for seed in (1, 2))
        np.testing.assert_allclose(first[:3], z[:3], atol=1e-6)
        np.testing.assert_allclose(second[:3], z[:3], atol=1e-6)
        assert not np.allclose(first[3:], second[3:])
        meta, arrays = ask(ws, run, "detail", n=2, seed=0)
        assert meta["depths"] == [0, 1, 2] and len(arrays["x"]) == 6
        lower = ask(ws, run, "map", layer=1)[0]
        assert not lower["standard"] and "layer" in ask(ws, run, "map", layer=2)[0]["error"]


def test_a_look_is_what_the_run_itself_decodes(site, runs):
    from taut.runs import load

    run = load(runs / "flat")
    with speaking(site) as ws:
        meta, arrays = ask(ws, known(runs, "flat"), "look", at=[0.3, 0.4])
    assert meta["distance"] == pytest.approx(0.5)
    expected = pictures(run.reading, run.decode(np.array([[0.3, 0.4]])), run.reading.limits)
    np.testing.assert_array_equal(arrays["x"], expected)
    index, gap = nearest(run.encode(run.test_split()), np.array([[0.3, 0.4]]))
    assert meta["nearest"] == index[0] and meta["gap"] == pytest.approx(gap[0], abs=1e-5)


def test_a_picture_is_read_as_an_example(site, runs):
    def sent(image, kind="PNG"):
        file = io.BytesIO()
        image.save(file, kind)
        return base64.b64encode(file.getvalue()).decode()

    with speaking(site) as ws:
        grey, colours = known(runs, "flat"), known(runs, "colours")
        white = Image.new("L", (90, 60), 255)
        assert (ask(ws, grey, "read", file=sent(white))[1]["x"] == 255).all()
        red = Image.new("RGB", (8, 8), (255, 0, 0))
        assert ask(ws, colours, "read", file=sent(red, "WEBP"))[1]["x"].shape == (1, 8, 8, 3)
        assert ask(ws, colours, "read", file=sent(red))[1]["x"][0, 0, 0].tolist() == [255, 0, 0]
        for run, file, said in (
            (grey, "no base64!", "base64"),
            (grey, base64.b64encode(b"GIF89a" + b"\0" * 50).decode(), "cannot be read"),
            (grey, sent(white)[:80], "cannot be read"),
            (grey, base64.b64encode(b"%!PS-Adobe").decode(), "cannot be read"),
            (grey, sent(Image.new("1", (5000, 2))), "4,096 a side"),
            (known(runs, "table"), sent(white), "no grey or colour images"),
        ):
            assert said in ask(ws, run, "read", file=file)[0]["error"]


def test_a_bomb_of_a_picture_is_refused_before_it_is_unpacked():
    from taut.data import Reading

    reading = Reading.of([np.random.default_rng(0).integers(0, 17, (9, 8, 8))])
    file = io.BytesIO()
    Image.new("1", (4000, 4000)).save(file, "PNG")
    content = bytearray(file.getvalue())
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    with pytest.raises(InputError, match="picture"):
        read_picture(bytes(content), reading, (0, 16))


def test_an_atlas_is_kept_for_the_next_time_where_it_can_be(runs, tmp_path):
    run = quick_run(tmp_path / "one", network=SMALL, latents=2)
    catalogue = Catalogue([tmp_path])

    def desk():
        return Desk(catalogue.entries()[0], catalogue)

    assert desk().saved is None
    first = desk().atlas
    (file,) = (tmp_path / "one" / "explore").glob("atlas-*.safetensors")
    kept = desk().saved
    np.testing.assert_array_equal(kept.codes, run.encode(run.test_split()))
    np.testing.assert_array_equal(kept.labels, run.test_split().labels)
    assert kept.sheets == first.sheets and kept.names == first.names and kept.examples == len(kept.codes) == 180
    file.write_bytes(file.read_bytes()[:-9])
    assert desk().saved is None
    np.testing.assert_array_equal(desk().atlas.codes, first.codes)
    file.unlink()
    file.parent.rmdir()
    file.parent.write_text("in the way")  # as a folder that cannot be written is
    np.testing.assert_array_equal(desk().atlas.codes, first.codes)
    from taut.folders import refuse_foreign

    file.parent.unlink()
    file.parent.mkdir()
    refuse_foreign(tmp_path / "one", force=True)  # what a page keeps is part of a run


def test_an_atlas_of_other_weights_or_a_damaged_one_is_none(tmp_path):
    from safetensors.numpy import save_file

    from taut.explore.atlas import read_atlas

    quick_run(tmp_path / "one", network=SMALL, latents=2)
    catalogue = Catalogue([tmp_path])
    assert Desk(catalogue.entries()[0], catalogue).atlas.examples == 180
    weights = tmp_path / "one" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert Desk(catalogue.entries()[0], catalogue).saved is None
    codes = np.zeros((4, 2), np.float32)
    about = {
        "names": None,
        "by": "",
        "sheets": [{"size": 2, "prior": "x", "standard": True}],
        "examples": 4,
        "centre": "c",
        "kl": None,
    }
    place = tmp_path / "atlas.safetensors"
    save_file({"codes": codes}, place, {"atlas": json.dumps(about)})
    assert read_atlas(place).codes.shape == (4, 2)
    for change in ({"kl": [1.0]}, {"sheets": 3}, {"sheets": []}, {"examples": "many"}, {"kl": "none"}):
        save_file({"codes": codes}, place, {"atlas": json.dumps(about | change)})
        assert read_atlas(place) is None, change
    save_file({"codes": codes, "labels": np.zeros(3)}, place, {"atlas": json.dumps(about)})
    assert read_atlas(place) is None
    save_file({"codes": codes}, place)
    assert read_atlas(place) is None


def test_the_address_and_the_list_wait_for_neither_torch_nor_numpy(runs):
    code = (
        "import sys; from taut.page.catalogue import Catalogue; from taut.page.server import Office, opened; "
        f"o = Office(Catalogue([{str(runs)!r}])); server, listening, address = opened(o); listening.close(); "
        "[e.full() for e in o.catalogue.entries()]; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_was_kept_is_answered_without_torch(runs):
    """A map, a training and the list of runs: what a page shows first waits for no model."""
    catalogue = Catalogue([runs / "flat"])
    full = read("map", {}).answer(Desk(catalogue.entries()[0], catalogue))
    code = (
        "import sys, json; from taut.page.catalogue import Catalogue; from taut.page.desk import Desk; "
        f"from taut.page.answers import read; c = Catalogue([{str(runs / 'flat')!r}]); d = Desk(c.entries()[0], c); "
        "found = read('kept', {}).answer(d); read('metrics', {}).answer(d); "
        "print(json.dumps([found.meta['kept'], found.meta['standard'], found.arrays['at'].tolist()])); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kept, standard, at = json.loads(done.stdout)
    assert kept and standard
    np.testing.assert_array_equal(np.array(at, np.float32), full.arrays["at"])


# ---- what a model is told


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> Path:
    """Runs that are told a label, and a kind and a quantity."""
    root = tmp_path_factory.mktemp("given") / "runs"
    tree = {"data": {"source": "digits", "condition": ["labels"]}, "training": {"steps": 30}}
    quick_run(root / "label", tree=tree, network=SMALL, latents=2)
    layers = [{"part": "Plain", "latents": 3}, {"part": "Plain", "latents": 2}]
    quick_run(root / "layers", tree=tree, network=SMALL, layers=layers)
    rng = np.random.default_rng(0)
    rows = [f"{a:.3f},{b:.3f},{'ab'[i % 2]},{c:.2f}" for i, (a, b, c) in enumerate(rng.normal(size=(60, 3)))]
    table = root / "given.csv"
    table.write_text("\n".join(["length,width,sort,age", *rows]))
    tree = {"data": {"source": str(table), "condition": ["sort", "age"]}, "training": {"steps": 3}}
    quick_run(root / "table", table, tree=tree, network=SMALL, latents=2)
    return root


def test_a_label_is_told_and_answered(given):
    from taut.runs import load

    run = load(given / "label")
    with serving([given]) as it, speaking(it) as ws:

        def asked(kind, name="label", **fields):
            meta, arrays = ask(ws, known(given, name), kind, **fields)
            assert meta["kind"] == kind, meta
            return meta, arrays

        z = [0.5, -0.5]
        three, four = (asked("decode", z=z, condition=[label])[1]["x"] for label in "34")
        assert (three != four).any()
        expected = pictures(run.reading, run.decode([z], "3"), run.reading.limits)
        np.testing.assert_array_equal(three, expected)
        np.testing.assert_array_equal(asked("decode", z=z)[1]["x"], asked("decode", z=z, condition=["0"])[1]["x"])
        np.testing.assert_array_equal(asked("look", at=z, condition=["3"])[1]["x"], three)
        assert len(asked("grid", low=[-1, -1], high=[1, 1], size=2, condition=["5"])[1]["x"]) == 4
        way = asked("between", a=z, b=[1.0, 1.0], steps=3, condition=["3"])[1]["x"]
        np.testing.assert_array_equal(way[0], three[0])
        assert asked("draw", seed=1, condition=["2"])[1]["z"].shape == (1, 2)
        some, arrays = asked("examples", index=[0, 5], codes=True)
        assert some["conditions"] == [[some["labels"][label]] for label in arrays["labels"]]
        many, arrays = asked("sample", n=3, each=0)
        assert many["rows"] == [str(i) for i in range(10)] and len(arrays["x"]) == 30
        expected = pictures(run.reading, run.sample(3, seed=0, means=True, condition="7"), run.reading.limits)
        np.testing.assert_array_equal(arrays["x"][21:24], expected)
        np.testing.assert_array_equal(asked("sample", n=3, condition=["7"])[1]["x"], expected)
        assert asked("sample", n=3)[0]["rows"] == [""]
        prior = asked("prior", condition=["1"])[0]
        assert prior["normal"] and prior["middle"] != asked("prior", condition=["2"])[0]["middle"]
        seen = asked("examine", example=3, samples=100)[0]
        assert seen["rate"] > 0 and seen["distortion"] > 0
        asked("exact", example=3)
        asked("noise", example=3)
        run_id = known(given, "label")
        ws.send(json.dumps({"id": 1, "run": run_id, "kind": "portrait", "fields": {"run": run_id}}))
        assert unpack(ws.recv(timeout=60))[0]["kind"] == "portrait"
        asked("refusals")
        white = io.BytesIO()
        Image.new("L", (8, 8), 255).save(white, "PNG")
        file = base64.b64encode(white.getvalue()).decode()
        assert asked("read", file=file, condition=["4"])[1]["z"].shape == (1, 2)
        kept = asked("resample", "layers", z=[0.0] * 5, keep=1, seed=1, condition=["4"])[1]["z"]
        assert kept.shape == (1, 5) and len(asked("detail", "layers", n=2, condition=["4"])[1]["x"]) == 6
        asked("look", "layers", at=[0, 0], condition=["4"])
        asked("examine", "layers", example=0, samples=100)
        for wrong, said in ((["x"], "never saw"), (["1", "2"], "has 2 values; give 1"), ([0.5], "never saw")):
            assert said in ask(ws, known(given, "label"), "decode", z=z, condition=wrong)[0]["error"], wrong
        assert "give 40 or fewer" in ask(ws, known(given, "label"), "sample", n=41, each=0)[0]["error"]
        assert "each" in ask(ws, known(given, "label"), "sample", n=1, each=1)[0]["error"]


def test_kinds_and_quantities_are_told_together(given):
    with serving([given]) as it, speaking(it) as ws:
        run = known(given, "table")
        full = json.loads(fetch(it, f"/api/runs/{run}")[2])
        told = full["reading"]["conditions"]
        assert [each["name"] for each in told] == ["sort", "age"] and told[0]["categories"] == ["a", "b"]
        young, old = (ask(ws, run, "decode", z=[0.0, 0.0], condition=["a", age])[1]["x"] for age in (-1.5, 1.5))
        assert (young != old).any()
        usual = ask(ws, run, "decode", z=[0.0, 0.0])[1]["x"]
        np.testing.assert_array_equal(usual, ask(ws, run, "decode", z=[0, 0], condition=["a", told[1]["mean"]])[1]["x"])
        assert ask(ws, run, "sample", n=2, each=0, condition=["a", 1])[0]["rows"] == ["a", "b"]
        assert "is a number" in ask(ws, run, "decode", z=[0.0, 0.0], condition=["a", "old"])[0]["error"]
        seen, points = ask(ws, run, "map")
        assert not seen["labels"] and seen["by"] == "" and "labels" not in points
        conditions = ask(ws, run, "examples", index=[0])[0]["conditions"]
        assert conditions[0][0] in "ab" and abs(conditions[0][1]) < 5


def test_a_table_is_coloured_by_its_first_column_of_few_kinds(tmp_path):
    rows = [f"{i * 0.1:.2f},{['low', 'high', ''][i % 3]},{i % 7}" for i in range(60)]
    (tmp_path / "sorts.csv").write_text("\n".join(["size,sort,more", *rows]))
    run = quick_run(tmp_path / "sorts", tmp_path / "sorts.csv", network=SMALL, latents=2)
    catalogue = Catalogue([tmp_path])
    meta = read("map", {}).answer(Desk(catalogue.entries()[0], catalogue))
    assert meta.meta["by"] == "sort" and meta.meta["labels"] == ["high", "low"]
    column = run.reading.restore(run.test_split().x)[:, 1]
    np.testing.assert_array_equal(meta.arrays["labels"], np.where(np.isnan(column), -1, column))


def test_what_is_told_nothing_says_so(site, runs):
    with speaking(site) as ws:
        said = ask(ws, known(runs, "flat"), "decode", z=[0, 0], condition=["3"])[0]["error"]
        assert "told nothing" in said
        assert "leave it out" in ask(ws, known(runs, "flat"), "sample", n=1, each=0)[0]["error"]
        assert ask(ws, known(runs, "flat"), "prior")[0]["middle"] == [0, 0]
        assert not ask(ws, known(runs, "vamp"), "prior")[0]["normal"]


def test_a_model_that_fails_to_load_says_why(runs, tmp_path):
    quick_run(tmp_path / "bad", network=SMALL, latents=2)
    weights = tmp_path / "bad" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    quick_run(tmp_path / "good", network=SMALL, latents=2)
    with serving([tmp_path]) as it, speaking(it) as ws:
        assert "is damaged" in ask(ws, known(tmp_path, "bad"), "model")[0]["error"]
        assert ask(ws, known(tmp_path, "good"), "model")[0]["kind"] == "model"


def test_a_run_that_is_trained_anew_is_loaded_anew(tmp_path):
    quick_run(tmp_path / "run", network=SMALL, latents=2)
    with serving([tmp_path]) as it, speaking(it) as ws:
        assert ask(ws, known(tmp_path, "run"), "model")[0]["latents"] == 2
        import shutil

        shutil.rmtree(tmp_path / "run")
        quick_run(tmp_path / "run", network=SMALL, latents=3)
        assert ask(ws, known(tmp_path, "run"), "model")[0]["latents"] == 3


# ---- what is sent


HOSTILE = [
    None, True, 0, -1, 1e300, 10**30, "", "x" * 300, "\ud800", "\0", [], [[]], {}, {"a": 1}, [0.0] * 3, [None], [1e999],
    [True, "a"], ["1"] * 5, [1e7, 1e7], [10**400, 0], {"__class__": "x"}, "../..", [float("nan")] * 2, [0] * 5000,
]  # fmt: skip

SCRAPS = [
    "", "{", "null", "[]", "nan", "NaN", '{"id": NaN}', "[" * 50_000, '{"a":' * 20_000, '"', "1" * 6000, "\x00", "{}" * 9
]  # fmt: skip


def hostile(random: np.random.Generator, good: str) -> str | bytes:
    """A message that is wrong in one way or another."""

    def pick(options):
        return options[int(random.integers(len(options)))]

    def anything(depth=0):
        if depth < 3 and random.random() < 0.3:
            return (
                [anything(depth + 1) for _ in range(3)]
                if random.random() < 0.5
                else {str(pick("abz")): anything(depth + 1)}
            )
        return pick(HOSTILE)

    way = int(random.integers(10))
    if way == 0:
        return random.bytes(int(random.integers(0, 400)))
    if way == 1:
        return pick(SCRAPS)
    kind = pick(sorted(Question.known))
    message = {"id": int(random.integers(1000)), "run": good, "kind": kind, "fields": {}}
    if way == 2:
        message[pick(["id", "run", "kind", "fields", "more", "__proto__"])] = anything()
    elif way == 3:
        del message[pick(["id", "run", "kind"])]
    else:
        for item in dataclasses.fields(Question.known[kind]):
            if random.random() < 0.8:
                message["fields"][item.name] = anything()
        if way == 4:
            message["fields"][pick(["zz", "self", "__init__", ""])] = anything()
    return json.dumps(message)


def test_a_thousand_hostile_messages_get_a_thousand_answers(site, runs):
    random = np.random.default_rng(0)
    good = known(runs, "flat")
    with speaking(site) as ws, speaking(site) as other:
        calm = ask(other, good, "look", at=[0.0, 0.0])[1]["x"]
        errors = 0
        for number in range(1000):
            ws.send(hostile(random, good))
            meta, _ = unpack(ws.recv(timeout=60))
            if meta["kind"] == "error":
                errors += 1
                sentence = meta["error"]
                assert sentence and "\n" not in sentence and "Traceback" not in sentence and len(sentence) < 1000
                assert "fault in taut" not in sentence, sentence
            if number % 100 == 0:
                np.testing.assert_array_equal(ask(other, good, "look", at=[0.0, 0.0])[1]["x"], calm)
        assert errors > 800
        np.testing.assert_array_equal(ask(ws, good, "look", at=[0.0, 0.0])[1]["x"], calm)
    assert fetch(site, "/api/runs")[0] == 200


def test_what_is_too_long_is_refused_and_beyond_that_the_socket_is_closed(site, runs):
    good = known(runs, "flat")
    with speaking(site) as ws, speaking(site) as other:
        ws.send(json.dumps({"id": 1, "run": good, "kind": "x" * served.MESSAGE, "fields": {}}))
        assert "characters long" in unpack(ws.recv(timeout=60))[0]["error"]
        with contextlib.suppress(ConnectionClosed):
            ws.send("x" * (served.FRAME + 1000))
        with pytest.raises(ConnectionClosed):
            ws.recv(timeout=60)
        assert ask(other, good, "model")[0]["kind"] == "model"


def test_a_flood_is_answered_one_by_one(site, runs):
    good = known(runs, "flat")
    with speaking(site) as ws:
        for number in range(300):
            ws.send(json.dumps({"id": number, "run": good, "kind": "look", "fields": {"at": [0, 0]}}))
        metas = [unpack(ws.recv(timeout=120))[0] for _ in range(300)]
    assert {meta["id"] for meta in metas} == set(range(300))
    assert all(meta["kind"] == "look" or "at a time" in meta["error"] for meta in metas)
    assert any(meta["kind"] == "look" for meta in metas)


def test_a_page_that_goes_in_the_middle_harms_nobody(site, runs):
    good = known(runs, "flat")
    for _ in range(5):
        with speaking(site) as ws:
            for number in range(20):
                ws.send(json.dumps({"id": number, "run": good, "kind": "sample", "fields": {"n": 100}}))
            ws.socket.close()
    with speaking(site) as ws:
        assert ask(ws, good, "model")[0]["kind"] == "model"


def test_every_question_refuses_fields_that_are_not_its_own():
    for kind in Question.known:
        with pytest.raises(InputError, match=rf"^{kind}\.nonsense: is no field"):
            read(kind, {"nonsense": 1})
    with pytest.raises(InputError, match=r"^sample\.n: is 0; give a whole number from 1"):
        read("sample", {"n": 0})
    with pytest.raises(InputError, match=r"^look\.at: is not given"):
        read("look", {})


# ---- the plane and the prior


def test_a_plane_may_be_chosen():
    means = np.random.default_rng(0).normal(size=(20, 4))
    np.testing.assert_array_equal(plane(means, None, (3, 1)).coordinates, means[:, [3, 1]])
    assert "principal" in plane(means, np.array([9, 9, 0, 0]), "principal").description
    for wrong in ((1, 1), (0, 4), (-1, 0)):
        with pytest.raises(InputError, match="give two from 0 to 3"):
            plane(means, None, wrong)


def test_the_standard_prior_is_known_by_its_density(runs):
    from taut.runs import load

    assert standard_prior(load(runs / "flat"))
    assert standard_prior(load(runs / "layers")) and not standard_prior(load(runs / "layers"), 1)
    for name in ("vamp", "sphere", "choices", "codes", "pixels"):
        assert not standard_prior(load(runs / name))


# ---- the command


def test_the_command_prints_an_address_and_ends_in_one_line(runs):
    import signal

    code = "import sys; from taut.cli import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen([sys.executable, "-c", code, "explore", str(runs), "--no-browser"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    first = process.stdout.readline()
    assert first.startswith("10 runs at http://127.0.0.1:") and "token=" in first
    assert process.stdout.readline() == "Ctrl-C ends it\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out.strip(), err) == (0, "ended", "")


def test_the_command_names_what_is_missing(capsys, tmp_path, monkeypatch):
    from taut.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["explore"]) == 2
    assert (
        capsys.readouterr().err == "taut: runs: is no folder; give runs that `taut train` made, or a folder of them\n"
    )
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["explore"]) == 2
    assert "pip install 'taut[page]'" in capsys.readouterr().err
