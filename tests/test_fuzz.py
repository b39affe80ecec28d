"""Whatever is given, there is a right answer or one line that says what is wrong: no traceback, no hang, no unbounded memory.

2,000 cases; more with TAUT_FUZZ=50000. The cases of one number are the same at each run.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import shutil
import signal
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from PIL import Image
from safetensors.torch import save

import taut
from taut.cli import main
from taut.config import options, parse, to_tree
from taut.data import Data, open_data
from taut.errors import InputError
from taut.experiment import Experiment
from taut.parts import FAMILIES
from taut.training.checkpoint import digest, read_tensors

pytestmark = pytest.mark.slow

TOTAL = int(os.environ.get("TAUT_FUZZ", 2000))
ROOM = 4 * 2**30  # bytes that a case may take beyond what the process has
PATIENCE = 120  # seconds after which a case hangs


def cases(share: float) -> Callable[[Callable], Callable]:
    """A share of all cases; what is found is not made smaller, which takes many more."""
    return settings(
        max_examples=max(1, round(share * TOTAL)), deadline=None, derandomize=True, database=None,
        phases=(Phase.explicit, Phase.generate), suppress_health_check=list(HealthCheck),
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def bounded() -> Iterator[None]:
    """Memory and time of each case are bounded; one thread, so that none is started for small arrays."""

    def hang(number: int, frame: Any) -> None:
        raise AssertionError("hangs")

    threads, before = torch.get_num_threads(), resource.getrlimit(resource.RLIMIT_DATA)
    torch.set_num_threads(1)
    used = int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmData" in line).split()[1])
    resource.setrlimit(resource.RLIMIT_DATA, (1024 * used + ROOM, before[1]))
    handler = signal.signal(signal.SIGALRM, hang)
    yield
    signal.signal(signal.SIGALRM, handler)
    resource.setrlimit(resource.RLIMIT_DATA, before)
    torch.set_num_threads(threads)


class Say:
    """Runs the command line in this process, and holds it to what it promises."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys, self.out = capsys, ""

    def __call__(self, *argv: Any) -> bool:
        """Whether it was done; if not there is one line, exit status 2, and no fault in taut."""
        self.capsys.readouterr()
        signal.alarm(PATIENCE)
        try:
            status = main([str(each) for each in argv])
        finally:
            signal.alarm(0)
        self.out, error = self.capsys.readouterr()
        if status == 0:
            return True
        assert status == 2, error
        assert error.startswith("taut: ") and error.count("\n") == 1 and len(error) < 2000, error
        return False


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    return Say(capsys)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def bits(folder: Path) -> Path:
    path = folder / "bits.npy"
    generator = np.random.default_rng(0)
    np.save(path, (generator.random((60, 6)) < 0.4).astype(np.uint8))
    return path


@pytest.fixture(scope="module")
def run(folder: Path, bits: Path) -> Path:
    """A finished run, its checkpoint of a step before the last, and a compressed file of its test split."""
    model = {"latents": 2, "network": {"part": "MLP", "hidden": [4]}}
    found = taut.train(bits, model=model, training={"steps": 4, "batch": 16})
    found.save(folder / "run")
    found.evaluate(samples=2)
    (folder / "bits.taut").write_bytes(found.compress(found.dataset().test).content)
    return folder / "run"


# -- how things are spoiled


@st.composite
def spoiled(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes with some changed, cut out, doubled, put in, or the end taken off."""
    found = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(found) - 1)))
        kind = draw(st.sampled_from(("change", "cut", "double", "insert", "end", "number")))
        if kind == "change" and found:
            found[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del found[at : at + draw(st.integers(1, 64))]
        elif kind == "double":
            found[at:at] = found[at : at + draw(st.integers(1, 64))]
        elif kind == "insert":
            found[at:at] = draw(st.binary(max_size=8))
        elif kind == "end":
            del found[at:]
        else:
            found[at : at + 8] = struct.pack("<Q", draw(st.sampled_from((0, 1, 2**31, 2**40, 2**63, 2**64 - 1))))
    return bytes(found)


ODD = st.one_of(
    st.none(), st.booleans(), st.sampled_from((-1, 0, 1, 2, 3, 7, 10**12, 10**30, -(10**30))), st.integers(-5, 40),
    st.floats(), st.sampled_from((0.5, 1e-300, 1e300, 1.0)), st.text(max_size=6),
    st.sampled_from(("none", "auto", "1e3", "1,2", "3x3", "[1, 2]", "{part: MLP}", "é", "\x00", "../..", "os.system", "inf")),
)  # fmt: skip
PARTS = sorted({name for family in FAMILIES for name in family.members})
NAMES = sorted({option.name for option in options(Experiment)} - {"training.start", "data.source"})
LEAVES = sorted({name.rpartition(".")[2] for name in NAMES})
TREES = st.recursive(
    ODD | st.sampled_from(PARTS),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["part", *LEAVES]) | st.text(max_size=4), inner, max_size=3)
        | st.fixed_dictionaries({"part": st.sampled_from(PARTS)}, optional=dict.fromkeys(LEAVES[:12], inner))
    ),
    max_leaves=6,
)
CONFIGS = st.dictionaries(st.sampled_from(NAMES), TREES, min_size=1, max_size=3)
CONTENTS = st.sampled_from((
    b"a: &a [*a, *a]\n", b"x: &x {y: *x}\nmodel: *x\n", b"model: " + b"[" * 5000, b"model: " + b"{a: " * 3000, b"\xff\xfe\x00",
    b"model: !!python/object/apply:os.system [ls]\n", b"data: 2026-13-41\n", b"? [1, 2]\n: 3\n", b"---\n---\n", b"- 1\n", b"",
    b"\n".join(b"a%d: &a%d [%s]" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 9) if i else b"1") for i in range(30)),
    b"seed: " + b"9" * 5000, b"model: {latents: 0x" + b"f" * 4000 + b"}", b"model: {<<: {<<: 3}}\n", b"seed: 1:2:3:4\n",
))  # fmt: skip


def train_on(bits: Path, config: Path) -> tuple[Any, ...]:
    return ("train", bits, "--config", config, "--training.batch", 16, "--print_config")


@cases(0.12)
@given(tree=CONFIGS)
def test_configurations(tree: dict[str, Any], say: Say, bits: Path, folder: Path) -> None:
    """Options of any name with any value: what is accepted says itself, and says it again when it is read again."""
    config: dict[str, Any] = {}
    for name, value in tree.items():
        *path, last = name.split(".")
        inner = config
        for key in path:
            inner = inner[key] if isinstance(inner.get(key), dict) else inner.setdefault(key, {})
            if not isinstance(inner, dict):
                break
        else:
            inner[last] = value
    file = folder / "config.yaml"
    try:
        file.write_text(yaml.safe_dump(config, allow_unicode=True), "utf-8")
    except UnicodeEncodeError:
        assume(False)
    if say(*train_on(bits, file)):
        again = parse(Experiment, yaml.safe_load(say.out))
        assert to_tree(again) == to_tree(parse(Experiment, to_tree(again)))
        file.write_text(say.out, "utf-8")
        first = say.out
        assert say(*train_on(bits, file)) and say.out == first


@cases(0.08)
@given(
    content=CONTENTS
    | st.binary(max_size=80)
    | spoiled(b"model: {latents: 3, prior: {part: Vamp, components: 9}}\nseed: 1\n")
)
def test_files_of_options(content: bytes, say: Say, bits: Path, folder: Path) -> None:
    (folder / "config.yaml").write_bytes(content)
    say(*train_on(bits, folder / "config.yaml"))


@cases(0.08)
@given(name=st.sampled_from(NAMES), value=ODD | st.sampled_from(PARTS))
def test_options_on_the_command_line(name: str, value: Any, say: Say, bits: Path) -> None:
    say("train", bits, f"--{name}={value}", "--print_config")


KINDS = (
    nps.integer_dtypes() | nps.unsigned_integer_dtypes() | nps.floating_dtypes() | nps.boolean_dtypes()
    | nps.complex_number_dtypes() | nps.unicode_string_dtypes(max_len=3) | nps.datetime64_dtypes()
    | nps.byte_string_dtypes(max_len=3)
)  # fmt: skip
ARRAYS = nps.arrays(
    KINDS, st.tuples(st.sampled_from((0, 1, 2, 3, 5, 8, 20)), st.integers(0, 9), st.integers(1, 9), st.integers(1, 5))
    .flatmap(lambda shape: st.integers(0, 4).map(lambda n: shape[:n])),
) | nps.arrays(st.sampled_from((np.uint8, np.float32, np.int64)), (12, 5), elements=st.integers(0, 9))  # fmt: skip


@cases(0.15)
@given(x=ARRAYS)
def test_arrays(x: np.ndarray, say: Say, folder: Path) -> None:
    """What is read is what was there."""
    path = folder / "x.npy"
    np.save(path, x)
    if not say("train", path, "--print_config"):
        return
    data = open_data(Data(str(path)))
    rows = np.concatenate([data.reading.restore(split.x) for split in (data.train, data.valid, data.test)])
    assert rows.shape == x.shape
    order = [sorted(map(bytes, each.astype(np.float32).reshape(len(x), -1) + np.float32(0))) for each in (rows, x)]
    assert order[0] == order[1]


def npy(header: str, body: bytes = b"\x01" * 64, version: int = 1) -> bytes:
    text = header.encode("latin-1", "replace")
    return b"\x93NUMPY" + bytes((version, 0)) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + body


HEADERS = st.builds(
    lambda kind, order, shape: npy(f"{{'descr': {kind!r}, 'fortran_order': {order}, 'shape': {shape}, }}\n"),
    st.sampled_from(("|u1", "<f4", ">i8", "|O", "<U5", "<M8[s]", "|V8", "<f16", "<c8", [("a", "<f4")], "|b1", "x", "<f2", "")),
    st.sampled_from(("True", "False", "0", "None")),
    st.sampled_from(("(8, 8)", "(4, 4, 4)", "()", "(0,)", "(-1, 8)", "(2**40, 8)", "(10**15, 10**15)", "(8,8,8,8,8,8)", "8",
                     "(8.0, 8)", "((1,),)", "(True, 64)", "(" * 200 + ")" * 200, "'ab'", "(1000000000, 100)")),
)  # fmt: skip


def zipped(arrays: dict[str, bytes], bomb: int = 0) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in arrays.items():
            file.writestr(f"{name}.npy", content)
        if bomb:
            file.writestr("y.npy", npy(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({bomb}, 1), }}\n", b""))
    return memory.getvalue()


def saved(x: np.ndarray) -> bytes:
    memory = io.BytesIO()
    np.save(memory, x)
    return memory.getvalue()


WHOLE = np.arange(96, dtype=np.uint8).reshape(12, 8) % 5


@cases(0.2)
@given(
    name=st.sampled_from(("x.npy", "x.npz")),
    content=HEADERS | HEADERS.map(lambda b: zipped({"x": b})) | spoiled(saved(WHOLE)) | spoiled(zipped({"x": saved(WHOLE)}))
    | st.sampled_from((10**8, 10**12, 10**18)).map(lambda n: zipped({"x": saved(WHOLE)}, n)) | st.binary(max_size=40),
)  # fmt: skip
def test_files_of_arrays(name: str, content: bytes, say: Say, folder: Path) -> None:
    (folder / name).write_bytes(content)
    say("train", folder / name, "--print_config")


def png(width: int, height: int, depth: int = 8, colour: int = 0, body: bytes = b"\x00" * 200) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def picture(kind: str) -> bytes:
    memory = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(memory, kind)
    return memory.getvalue()


FORMATS = {".png": "png", ".jpg": "jpeg", ".gif": "gif", ".bmp": "bmp", ".tif": "tiff", ".webp": "webp", ".pgm": "ppm"}
PICTURES = {suffix: picture(kind) for suffix, kind in FORMATS.items()}
SIZES = st.sampled_from((0, 1, 8, 4000, 60_000, 2**31 - 1, 2**32 - 1))


@cases(0.1)
@given(
    suffix=st.sampled_from(sorted(PICTURES)),
    content=st.sampled_from(sorted(PICTURES.values())).flatmap(spoiled)
    | st.builds(png, SIZES, SIZES, st.sampled_from((1, 8, 16, 3)), st.sampled_from((0, 2, 3, 6, 9)))
    | st.builds(png, st.just(8), st.just(8), body=st.sampled_from((b"", b"\x00" * 10**7))),
)
def test_images(suffix: str, content: bytes, say: Say, folder: Path) -> None:
    place = folder / "images"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for i in range(5):
        (place / f"{i}.png").write_bytes(PICTURES[".png"])
    (place / f"x{suffix}").write_bytes(content)
    say("train", place, "--print_config")


CELLS = st.sampled_from(
    ("1", "0.5", "", "NA", "é", '"', '"a,b"', "1e400", "nan", "-inf", "9" * 40, " 3 ", "\x00", "\r", "2026-01-01")
)
TABLES = st.lists(st.lists(CELLS, min_size=1, max_size=4).map(",".join), max_size=8).map("\n".join).map(str.encode)


@cases(0.08)
@given(
    name=st.sampled_from(("x.csv", "x.csv.gz", "x.tsv", "x.parquet")),
    content=TABLES | TABLES.map(lambda t: b"a,b,c\n" + t)
    | spoiled(b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * i % 7) for i in range(9))),
    squeeze=st.booleans(),
)  # fmt: skip
def test_tables(name: str, content: bytes, squeeze: bool, say: Say, folder: Path) -> None:
    (folder / name).write_bytes(gzip.compress(content) if squeeze else content)
    say("train", folder / name, "--print_config")


HEADS = st.recursive(
    ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
FACTS = (
    HEADS | st.just("x") | st.fixed_dictionaries({"numbers": HEADS, "form": HEADS})
    | st.fixed_dictionaries({"settings": HEADS, "done": HEADS, "parts": HEADS})
)  # fmt: skip


def signed(tensors: dict[str, torch.Tensor], text: str) -> bytes:
    """A file of tensors whose checksum is right, whatever it says."""
    return save(tensors, {"taut": json.dumps({"sha256": digest(tensors, text), "facts": text})})


@cases(0.06)
@given(data=st.data())
def test_checkpoints(data: st.DataObject, say: Say, run: Path, folder: Path) -> None:
    """A file of weights or of a training's state that was spoiled, or was made by somebody else with its checksum right."""
    place = folder / "damaged"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(run, place)
    weights, _ = read_tensors(run / "model.safetensors")
    text = data.draw(st.sampled_from(("[" * 100_000, "3", "[]", "{}", '{"numbers": 1}')) | FACTS.map(json.dumps))
    pick = data.draw(st.sampled_from(("spoiled", "signed", "sized", "named")))
    size = data.draw(st.sampled_from((0, 7, 100, 2**31, 2**62)))
    kept = next((run / "evaluations").iterdir()).name
    name = data.draw(st.sampled_from(("model.safetensors", "checkpoint.safetensors", f"evaluations/{kept}")))
    content = {
        "spoiled": lambda: data.draw(spoiled((run / "model.safetensors").read_bytes())),
        "signed": lambda: signed(weights, text),
        "sized": lambda: (
            struct.pack("<Q", size) + b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}'
        ),
        "named": lambda: save(weights, {"taut": text}),
    }[pick]()
    if content == (run / "model.safetensors").read_bytes():
        return
    (place / name).write_bytes(content)
    if name == "checkpoint.safetensors":
        assert not say("train", "--resume", place)
    elif name != "model.safetensors":
        assert say("evaluate", place, "--samples", 2, "--json")  # what was measured is measured again
    else:
        say("sample", place, "-n", 2, "-o", folder / "x.npy", "--force", "--seed", 1)


@cases(0.06)
@given(data=st.data())
def test_run_folders(data: st.DataObject, say: Say, run: Path, folder: Path) -> None:
    """Any file of a run that is not of weights."""
    place = folder / "damaged"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(run, place)
    name = data.draw(st.sampled_from(("config.yaml", "data.json", "summary.json")))
    content = (run / name).read_bytes()
    kind = data.draw(st.sampled_from(("spoiled", "changed", "other")))
    if kind == "changed" and name != "config.yaml":
        tree = json.loads(content)
        inner = tree["reading"] if name == "data.json" and data.draw(st.booleans()) else tree
        inner[data.draw(st.sampled_from(sorted(inner)))] = data.draw(HEADS)
        content = json.dumps(tree).encode()
    elif kind == "other":
        content = data.draw(
            st.sampled_from((b"[" * 100_000, b"{}", b"3", b"null", b'{"reading": {}}'))
            | HEADS.map(json.dumps).map(str.encode)
        )
    else:
        content = data.draw(spoiled(content))
    (place / name).write_bytes(content)
    what = data.draw(st.sampled_from(("sample", "evaluate", "traverse")))
    if what == "sample":
        say("sample", place, "-n", 2, "-o", folder / "x.npy", "--force")
    elif what == "evaluate":
        say("evaluate", place, "--samples", 2, "--json")
    else:
        say("traverse", place, "--steps", 2, "--dimensions", 1, "-o", folder / "x.npy", "--force")


@cases(0.07)
@given(data=st.data())
def test_compressed_files(data: st.DataObject, say: Say, run: Path, folder: Path) -> None:
    """Files of bits that were spoiled, or whose header lies with its checksum right."""
    from taut.codec.file import MAGIC, START, _digest

    content = (folder / "bits.taut").read_bytes()
    if data.draw(st.booleans()):
        found = data.draw(spoiled(content))
    else:
        length = START.unpack_from(content)[3]
        head, words = json.loads(content[START.size : START.size + length]), content[START.size + length :]
        for name in data.draw(st.lists(st.sampled_from(sorted(head)), min_size=1, max_size=2)):
            head[name] = data.draw(HEADS | st.sampled_from((10**10, 10**15, 2**62, 2**31)))
        body = json.dumps(head).encode()[: 2**16 - 1]
        rest = body + data.draw(st.sampled_from((words, b"", words[:-3], words * 3)))
        size = START.size + len(rest)
        found = START.pack(MAGIC, size, _digest(size, len(body), rest), len(body)) + rest
    (folder / "spoiled.taut").write_bytes(found)
    done = say("decompress", run, folder / "spoiled.taut", "-o", folder / "x.npy", "--force")
    if done:  # then it is what was compressed: the checksum of the data was right
        assert np.array_equal(
            np.load(folder / "x.npy"), taut.load(run).dataset().reading.restore(taut.load(run).test_split().x)
        )


def test_no_name_is_a_way_out(say: Say, run: Path, folder: Path) -> None:
    with pytest.raises(InputError):
        taut.load(folder / "none")
    for name in ("", ".", "..", "/", "\x00", "x" * 5000, "~nobody/x", "/dev/null", "/dev/zero", str(run)):
        say("train", name, "--print_config")
        say("evaluate", name, "--samples", 1, "--json")
