"""A model that is passed on: the card says what is true, nothing of the machine goes along, and it loads as the same model."""

from __future__ import annotations

import re
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import taut
from taut.cli import main


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sharing")
    np.save(place / "mine.npy", np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32))
    tiny = ["--training.steps", "3", "--model.network.hidden", "8", "--model.network", "MLP", "--objective.beta", "2"]
    assert main(["train", str(place / "mine.npy"), "--out", str(place / "run"), *tiny, "--quiet"]) == 0
    return place / "run"


def header(card: str) -> dict[str, Any]:
    return yaml.safe_load(re.match(r"---\n(.*?)---\n", card, re.DOTALL).group(1))


def test_the_card_says_the_numbers_of_the_run(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    assert main(["share", str(run), "-o", str(out), "--licence", "cc0-1.0", "--quiet"]) == 0
    assert {path.name for path in out.iterdir()} == {
        "README.md", "config.yaml", "data.json", "model.safetensors", "summary.json",
    }  # fmt: skip
    card, summary = (out / "README.md").read_text(encoding="utf-8"), taut.load(run).summary
    head = header(card)
    assert head["license"] == "cc0-1.0" and head["library_name"] == "taut"
    metrics = {each["type"]: each["value"] for each in head["model-index"][0]["results"][0]["metrics"]}
    assert metrics["elbo"] == round(summary["elbo"], 4) and metrics["iw-elbo"] == round(summary["iw"]["value"], 4)
    assert f"± {summary['elbo_stderr']:.3f}" in card and "a lower bound of log p(x)" in card
    assert "trained at β = 2" in card
    for path in out.iterdir():
        assert str(run.parent).encode() not in path.read_bytes(), f"{path.name} tells where the data lay"


def test_the_card_of_a_conditioned_model_says_what_is_bounded_and_how_it_is_told(tmp_path: Path) -> None:
    run = taut.train("digits", training={"steps": 3}, data={"condition": ["labels"]}, model={"latents": 2})
    assert run.summary["density"] == "p(x | labels)"
    folder = taut.save_pretrained(run, tmp_path / "model")
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "a lower bound of log p(x &#124; labels)" in card and "| conditioned on | labels |" in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace("FOLDER or OWNER/NAME", str(folder)), names)
    assert names["back"].shape == (16, 8, 8)


def test_it_loads_as_the_same_model(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained = taut.load(run)
    folder = taut.save_pretrained(trained, tmp_path / "model")
    again = taut.from_pretrained(folder)
    assert (again.sample(5, seed=1) == trained.sample(5, seed=1)).all() and again.summary == trained.summary
    assert main(["sample", str(folder), "-n", "3", "-o", str(tmp_path / "new.npy"), "--quiet"]) == 0
    for given, word in (
        ([str(run), "-o", str(folder)], "exists"),
        ([str(run)], "nowhere to go"),
        ([str(run), "-o", str(run), "--force"], "no part of a model"),
    ):
        capsys.readouterr()
        assert main(["share", *given]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert word in line
    with pytest.raises(taut.InputError, match="no folder, and no name"):
        taut.from_pretrained("nowhere at all")


def test_a_folder_that_was_measured_can_be_written_again(run: Path, tmp_path: Path) -> None:
    folder = taut.save_pretrained(taut.load(run), tmp_path / "model")
    taut.from_pretrained(folder).evaluate(str(run.parent / "mine.npy"), samples=2, iw_limit=2)
    assert (folder / "evaluations").is_dir()
    with pytest.raises(taut.InputError, match="exists"):
        taut.save_pretrained(taut.load(run), folder)
    taut.save_pretrained(taut.load(run), folder, force=True)
    assert not (folder / "evaluations").exists()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(taut.InputError, match=r"notes\.txt"):
        taut.save_pretrained(taut.load(run), folder, force=True)


@pytest.mark.parametrize("save", [taut.save_pretrained, taut.runs.Run.save], ids=["shared", "saved"])
@pytest.mark.parametrize("force", [False, True])
def test_where_no_folder_can_be(run: Path, tmp_path: Path, save: Any, force: bool) -> None:
    trained, file = taut.load(run), tmp_path / "file"
    file.write_text("mine")
    for place in (file, file / "below", tmp_path / ("long" * 100), tmp_path / "zero\0byte"):
        with pytest.raises(taut.InputError, match="cannot be made") as caught:
            save(trained, place, force=force)
        assert "\n" not in str(caught.value)
    assert file.read_text() == "mine"
    save(trained, tmp_path / "made" / "with" / "parents", force=force)


def test_to_a_hub_and_back(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a stand-in with the calls of huggingface_hub's own signatures, which keeps its models in a folder."""
    shelf = tmp_path / "hub"

    class HfApi:
        endpoint = "https://hub.example"

        def __init__(self, token: str | None = None) -> None:
            if token == "wrong":
                raise PermissionError("401: who are you?")

        def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
            (shelf / repo_id).mkdir(parents=True, exist_ok=exist_ok)

        def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
            shutil.copytree(folder_path, shelf / repo_id, dirs_exist_ok=True)

    def snapshot_download(repo_id: str, *, revision: Any, token: Any, allow_patterns: list[str]) -> str:
        if not (shelf / repo_id).is_dir():
            raise OSError("404: no such model\nand much more")
        place = tmp_path / "cache"
        place.mkdir()
        for name in allow_patterns:
            shutil.copy(shelf / repo_id / name, place / name)
        return str(place)

    stand_in = types.SimpleNamespace(HfApi=HfApi, snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", stand_in)
    trained = taut.load(run)
    assert taut.push_to_hub(trained, "someone/mine") == "https://hub.example/someone/mine"
    (shelf / "someone" / "mine" / "evil.py").write_text("raise SystemExit")
    again = taut.from_pretrained("someone/mine")
    assert (again.encode(trained.sample(4, seed=0)) == trained.encode(trained.sample(4, seed=0))).all()
    assert not (tmp_path / "cache" / "evil.py").exists()
    with pytest.raises(taut.InputError, match="404: no such model"):
        taut.from_pretrained("someone/else")
    with pytest.raises(taut.InputError, match="who are you"):
        taut.push_to_hub(trained, "someone/mine", token="wrong")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(taut.InputError, match=r"taut\[hub\]"):
        taut.from_pretrained("someone/mine")
