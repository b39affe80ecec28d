"""Grey values that are made binary anew for each batch: by one byte a pixel, and as exact as by a float."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from taut.data import Data, open_array
from taut.data.batches import Feed, _Coins


@pytest.mark.parametrize("grey", [1, 3, 7, 16, 100, 255])
def test_a_pixel_is_bright_as_often_as_its_grey_value_says(grey):
    torch.manual_seed(grey)
    rows, times = 2000, 100
    values = torch.arange(grey + 1, dtype=torch.uint8).repeat(rows, 1)
    coins = _Coins(values, grey)
    found = sum(coins.toss(torch.arange(rows)).double().mean(0) for _ in range(times)) / times
    p = torch.arange(grey + 1) / grey
    assert found[0] == 0 and found[-1] == 1  # black and white are never tossed
    error = (found - p)[1:-1] / (p * (1 - p) / (rows * times)).sqrt()[1:-1]
    assert not len(error) or error.abs().max() < 4.5
    assert len(error) < 20 or error.square().mean().item() == pytest.approx(1, abs=0.4)


def test_the_first_byte_and_the_rest_make_up_each_probability():
    """p = t/256 + r/256 where t is the byte and r what a second draw is held against, exactly."""
    for grey in (1, 7, 16, 100, 254, 255):
        values = torch.arange(grey + 1, dtype=torch.uint8)
        coins = _Coins(values, grey)
        first = coins.first(torch.arange(grey + 1)).long()
        total = (first + coins.rest[first]) / 256
        torch.testing.assert_close(total, values.double() / grey, rtol=0, atol=1e-15)
        assert len(first.unique()) == grey + 1


def test_pixels_are_tossed_apart_and_by_the_generator():
    x = np.full((40, 6, 6), 128, dtype=np.uint8)
    data = open_array(x, None, Data("array", binarize="dynamic", support="bytes"))
    feed = Feed(data.train, data.reading)
    index = torch.arange(len(feed))
    torch.manual_seed(0)
    one, two = feed.batch(index).x, feed.batch(index).x
    torch.manual_seed(0)
    assert torch.equal(one, feed.batch(index).x)
    assert not torch.equal(one, two)
    assert set(one.unique().tolist()) == {0.0, 1.0}
    pixels = one.flatten(1)
    assert abs(np.corrcoef(pixels[:, :18].flatten(), pixels[:, 18:].flatten())[0, 1]) < 0.15


def test_a_grey_scale_beyond_a_byte_is_tossed_the_plain_way():
    x = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 4, 5)
    data = open_array(x, None, Data("array", binarize="dynamic"))
    feed = Feed(data.train, data.reading)
    assert feed._coins is None
    torch.manual_seed(0)
    mean = sum(feed.batch(torch.arange(len(feed))).x for _ in range(2000)) / 2000
    torch.testing.assert_close(mean, data.train.x.float(), rtol=0, atol=0.06)
