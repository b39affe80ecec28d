"""The scikit-learn face keeps scikit-learn's conventions, and its scores are the bounds that they say they are."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

import taut
from taut import InputError, VAEEstimator
from taut.evaluation import bounds

TINY = {"network": {"part": "MLP", "hidden": [8]}, "epochs": 2, "samples": 4, "random_state": 0}
CHECKS = [(estimator, check) for estimator, check in estimator_checks_generator(VAEEstimator(**TINY))]


@pytest.fixture(scope="module")
def iris() -> np.ndarray:
    return StandardScaler().fit_transform(load_iris().data)


@pytest.fixture(scope="module")
def fitted(iris: np.ndarray) -> VAEEstimator:
    return VAEEstimator(latents=2, epochs=60, random_state=0).fit(iris)


@pytest.mark.filterwarnings("ignore:.*does not inherit:UserWarning", "ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.parametrize(("estimator", "check"), CHECKS, ids=[str(getattr(c, "func", c).__name__) for _, c in CHECKS])
def test_scikit_learns_own_checks(estimator: VAEEstimator, check: Any) -> None:
    check(estimator)


def test_scores_are_the_bound_that_evaluation_measures(iris: np.ndarray, fitted: VAEEstimator) -> None:
    estimator = clone(fitted).set_params(samples=64).fit(iris)
    scores = estimator.score_samples(iris)
    run = estimator.run_
    split = taut.data.Split(run.reading.apply(iris))
    run.vae.float()
    measured = bounds(taut.evaluation.Subject(run.vae, split, run.reading), 64)
    gap = scores - measured.elbo.numpy()
    assert abs(gap.mean()) < 0.1 and np.abs(gap).max() < 2
    tighter = clone(estimator).set_params(bound="iw").fit(iris).score_samples(iris)
    assert tighter.mean() > scores.mean()
    assert abs((tighter - measured.importance.numpy()).mean()) < 0.1


def test_a_row_has_the_same_numbers_in_any_company(iris: np.ndarray, fitted: VAEEstimator) -> None:
    alone = np.concatenate([fitted.score_samples(row[None]) for row in iris[:5]])
    np.testing.assert_allclose(alone, fitted.score_samples(iris)[:5], atol=1e-9)
    discrete = VAEEstimator(latents=3, posterior="Categorical", epochs=2, random_state=0).fit(iris)
    assert len({*np.round(discrete.score_samples(np.repeat(iris[:1], 3, 0)), 9)}) == 1
    np.testing.assert_allclose(discrete.score_samples(iris[3:5]), discrete.score_samples(iris)[3:5], atol=1e-9)


def test_what_is_unlike_the_data_scores_lower(iris: np.ndarray, fitted: VAEEstimator) -> None:
    far = np.random.default_rng(0).uniform(-6, 6, size=(100, 4))
    assert np.median(fitted.score_samples(far)) < np.quantile(fitted.score_samples(iris), 0.05)


def test_codes_come_back_as_rows(iris: np.ndarray, fitted: VAEEstimator) -> None:
    back = fitted.inverse_transform(fitted.transform(iris))
    assert back.shape == iris.shape and back.dtype == np.float64
    assert np.square(back - iris).mean() < 0.5 * np.square(iris).mean()
    assert fitted.sample(7, random_state=1).shape == (7, 4)
    assert (fitted.sample(7, random_state=1) == fitted.sample(7, random_state=1)).all()


def test_pickled_it_is_the_same_model(iris: np.ndarray, fitted: VAEEstimator) -> None:
    again = pickle.loads(pickle.dumps(fitted))
    assert (again.score_samples(iris) == fitted.score_samples(iris)).all()
    assert (again.transform(iris) == fitted.transform(iris)).all()


def test_pipelines_and_searches(iris: np.ndarray) -> None:
    X, y = load_digits(return_X_y=True)
    X, y = X[:400], y[:400]
    pipeline = make_pipeline(StandardScaler(), VAEEstimator(**TINY), LogisticRegression(max_iter=500))
    search = GridSearchCV(pipeline, {"vaeestimator__latents": [1, 16]}, cv=2).fit(X, y)
    assert search.best_params_ == {"vaeestimator__latents": 16}
    density = GridSearchCV(VAEEstimator(**TINY), {"epochs": [1, 100]}, cv=2).fit(iris)
    assert density.best_params_ == {"epochs": 100} and np.isfinite(density.cv_results_["mean_test_score"]).all()


def test_constant_columns_are_kept_out_and_put_back(iris: np.ndarray) -> None:
    X = np.insert(iris, 1, 7.0, axis=1)
    estimator = VAEEstimator(**TINY).fit(X)
    assert estimator.constant_features_.tolist() == [1]
    assert (estimator.sample(3)[:, 1] == 7).all()
    other = X.copy()
    other[:, 1] = -1
    assert (estimator.score_samples(other) == estimator.score_samples(X)).all()


def test_frames_images_and_the_command_line(tmp_path: Any) -> None:
    X, _ = load_digits(return_X_y=True)
    estimator = VAEEstimator(
        latents=4, shape=(8, 8), support="integers", network={"part": "Conv", "channels": [4, 8], "hidden": 16}, epochs=1,
        options={"objective": {"part": "IWAE", "samples": 2}}, random_state=0,
    ).fit(X)  # fmt: skip
    assert estimator.inverse_transform(estimator.transform(X[:3])).shape == (3, 64)
    estimator.run_.save(tmp_path / "run")
    run = taut.load(tmp_path / "run")
    np.testing.assert_allclose(run.encode(X[:3]), estimator.transform(X[:3]), atol=1e-4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"prior": "Vmp"}, "model.prior"),
        ({"bound": "upper"}, "bound"),
        ({"samples": 0}, "samples: is 0"),
        ({"samples": 2.5}, "samples: is 2.5"),
        ({"samples": "3"}, "samples: is '3'"),
        ({"options": {"data": {"limit": 50}}}, "data.limit: is 50"),
        ({"options": {"data": {"offset": "library"}}}, "data.offset"),
        ({"options": {"data": {"condition": ["labels"]}}}, "data.condition"),
        ({"options": {"data": {"source": "digits"}}}, "data.source"),
        ({"epochs": -1}, "training.epochs"),
        ({"shape": (3, 3)}, "data.shape"),
    ],
)
def test_what_does_not_fit_is_named(iris: np.ndarray, given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        VAEEstimator(**{**TINY, **given}).fit(iris)


def test_what_is_asked_of_a_fitted_one_is_named(iris: np.ndarray, fitted: VAEEstimator) -> None:
    for Z, said in ((np.full((2, 2), np.nan), "NaN"), (np.full((2, 2), np.inf), "infinity"), (np.zeros((2, 3)), "shape"),
                    ([["a", "b"]], "string"), (np.zeros((0, 2)), "0 sample")):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            fitted.inverse_transform(Z)
    for n in (0, 2.5, "3", None):
        with pytest.raises(InputError, match="n_samples"):
            fitted.sample(n)
    with pytest.raises(InputError, match="samples"):
        clone(fitted).set_params(epochs=1).fit(iris).set_params(samples=2.5).score_samples(iris)
    assert fitted.sample(np.int64(3)).shape == (3, 4)


def test_whole_numbers_of_numpy_and_signals(iris: np.ndarray) -> None:
    assert VAEEstimator(**{**TINY, "samples": np.int64(3)}).fit(iris).score_samples(iris[:2]).shape == (2,)
    waves = np.sin(np.arange(32) * np.random.default_rng(0).uniform(0.1, 0.5, (40, 1)))
    estimator = VAEEstimator(epochs=1, options={"data": {"layout": "signal"}}, random_state=0).fit(waves)
    assert estimator.run_.reading.shape == (1, 1, 32)
    assert estimator.inverse_transform(estimator.transform(waves)).shape == waves.shape


def test_a_point_posterior_transforms_and_has_no_score(iris: np.ndarray) -> None:
    estimator = VAEEstimator(posterior="Delta", **TINY).fit(iris)
    assert estimator.transform(iris).shape == (150, 2)
    with pytest.raises(InputError, match="no bound"):
        estimator.score(iris)
