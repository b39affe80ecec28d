"""With no option at all, `taut train X` gives a sensible model of every kind of data there is at hand, and the README
keeps its word."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from taut.data import Data, Dataset, open_data
from taut.evaluation import Subject, evaluate
from taut.experiment import Experiment, build, resolve, train
from taut.training import Training

pytestmark = pytest.mark.slow

README = Path(__file__).parents[1] / "README.md"


def cifar_folder(root: Path, folder: Path) -> str:
    """The first 300 images of the CIFAR sample, a file each."""
    with Image.open(root / "cifar10_sample" / "cifar10_batch_0.png") as sheet:
        images = np.asarray(sheet).reshape(1000, 32, 32, 3)
    for i, image in enumerate(images[:300]):
        Image.fromarray(image).save(folder / f"{i:04d}.png")
    return str(folder)


def adult_table(root: Path, folder: Path) -> str:
    """The census data: numbers and words, some cells missing."""
    names = "age,work,weight,education,schooling,marital,occupation,relation,race,sex,gain,loss,hours,country,income"
    path = folder / "adult.csv"
    with gzip.open(root / "tabular" / "adult.data.gz", "rt") as source, open(path, "w") as out:
        out.write(names + "\n")
        for line in source:
            cells = [cell.strip() for cell in line.split(",")]
            if len(cells) == 15 and cells[0].isdecimal():
                out.write(",".join("" if cell == "?" else cell for cell in cells) + "\n")
    return str(path)


SETS = {
    "digits": lambda root, folder: Data("digits"),
    "mnist": lambda root, folder: Data("mnist", root=str(root), limit=2000),
    "mnist-dynamic": lambda root, folder: Data("mnist", root=str(root), limit=2000, binarize="dynamic"),
    "fashion": lambda root, folder: Data("fashion-mnist", root=str(root), limit=2000),
    "frey": lambda root, folder: Data(str(root / "frey_faces" / "frey_faces.npz")),
    "cifar": lambda root, folder: Data(cifar_folder(root, folder)),
    "adult": lambda root, folder: Data(adult_table(root, folder), limit=5000),
    "satellite": lambda root, folder: Data(str(root / "adbench" / "30_satellite.npz"), array="X", labels="y"),
}


@pytest.mark.parametrize("name", SETS)
def test_a_short_run_beats_the_marginal_by_far(name: str, data_root: Path, tmp_path: Path) -> None:
    """Training starts at the marginal of each element; a short run must use the code to do much better."""
    data: Dataset = open_data(SETS[name](data_root, tmp_path))
    experiment = resolve(Experiment(Data("array"), training=Training(steps=120)), data)
    before = evaluate(Subject(build(experiment, data), data.test, data.reading), samples=1, limit=200)["elbo"]
    vae, _ = train(experiment, data)
    after = evaluate(Subject(vae, data.test, data.reading), samples=1, limit=200)
    assert after["elbo"] > before + 0.5 * abs(after["rate"]) > before
    assert after["rate"] > 0.1 and after["active_units"] >= 1


def test_the_python_of_the_readme_runs_as_written(capsys: pytest.CaptureFixture[str]) -> None:
    code = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL).group(1)
    names: dict[str, object] = {}
    exec(code, names)
    assert -100 < float(capsys.readouterr().out) < -80
    assert names["images"].shape == (16, 8, 8) and len(names["codes"]) == 180
