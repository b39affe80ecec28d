"""Draws are judged: by sets of which it is known what they lack."""

from __future__ import annotations

import pytest
import torch

from taut.evaluation.draws import Principal, in_words, judge

SIZE = 600


def normal(seed: int, count: int = SIZE, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))


TRAIN, TEST = normal(0, 2000), normal(1)


def test_draws_of_the_same_distribution_do_as_well_as_test_examples() -> None:
    found = judge(normal(2), TEST, TRAIN)
    for name in ("precision", "recall", "coverage", "density"):
        assert found[name] == pytest.approx(found["reference"][name], abs=0.06)
    assert found["copies"] <= 3 and found["equal"] == 0
    assert found["distance"] == pytest.approx(found["reference"]["distance"], rel=0.05)


def test_what_is_lacking_shows_in_the_measure_that_is_for_it() -> None:
    narrow = judge(normal(2, scale=0.3), TEST, TRAIN)  # the blandest draws: all plausible, and few of the data near
    assert narrow["precision"] > narrow["reference"]["precision"]
    assert narrow["recall"] < 0.2 and narrow["coverage"] < 0.6 * narrow["reference"]["coverage"]
    wild = judge(normal(2, scale=4.0), TEST, TRAIN)  # far out, and spread over more than the data
    assert wild["precision"] < 0.15 and wild["recall"] > 0.9
    one = judge(TRAIN.mean(0).expand(SIZE, 8) + 1e-3 * normal(3), TEST, TRAIN)
    assert one["coverage"] < 0.2 and one["recall"] < 0.01


def test_copies_are_counted() -> None:
    draws = normal(2)
    draws[:40] = TRAIN[100:140]
    draws[40:70] = TRAIN[300:330] + 1e-3
    found = judge(draws, TEST, TRAIN)
    assert found["equal"] == 40
    assert 70 <= found["copies"] <= 73


def test_few_examples_are_compared_with_few_draws() -> None:
    found = judge(normal(2), TEST[:50], TRAIN[:40])
    assert found["n"] == 40
    alone = judge(normal(2), TEST[:1], TRAIN[:1])
    assert alone["precision"] is None and alone["copies"] == 0
    assert ("precision", "–", "", "", "examples are too few to have neighbours") in in_words(alone)


def test_principal_components_are_those_of_most_variance_and_keep_distances() -> None:
    x = normal(5) * torch.tensor([5.0, 4, 3, 0.1, 0.1, 0.1, 0.1, 0.1])
    whole, few = Principal.of(x, 8), Principal.of(x, 3)
    torch.testing.assert_close(torch.cdist(whole(x), whole(x)), torch.cdist(x, x), rtol=1e-3, atol=1e-2)
    assert few(x).var(0).sum() > 0.99 * x.var(0).sum()
    assert few.name == "3 principal components"


def test_words_name_the_space_and_the_reference() -> None:
    rows = in_words(judge(normal(2), TEST, TRAIN))
    assert [row[0] for row in rows] == ["precision", "coverage", "recall", "copies"]
    assert "8 principal components" in rows[0][4] and "test data" in rows[0][4]
    assert in_words({}) == []
