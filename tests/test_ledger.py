"""Results of an evaluation are kept as they come, and taken only for what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from taut.evaluation.ledger import Ledger, digest_of

PARTS = [range(0, 3), range(3, 5), range(5, 9)]


class Work:
    """Squares, and what was asked of it."""

    def __init__(self, stop: int | None = None) -> None:
        self.asked: list[int] = []
        self.stop = stop

    def __call__(self, i: int, part: range) -> dict[str, Tensor]:
        if i == self.stop:
            raise KeyboardInterrupt
        self.asked.append(i)
        return {"square": torch.tensor([float(n) ** 2 for n in part]), "row": torch.tensor([[n, i] for n in part])}


def test_a_stopped_evaluation_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = Ledger(None).gather("squares", {"k": 1}, PARTS, Work())
    assert whole["square"].tolist() == [n**2 for n in range(9)] and whole["row"].shape == (9, 2)
    first, second, third = Work(stop=2), Work(), Work()
    with pytest.raises(KeyboardInterrupt):
        Ledger(tmp_path).gather("squares", {"k": 1}, PARTS, first)
    assert first.asked == [0, 1]
    told: list[int] = []
    found = Ledger(tmp_path).gather("squares", {"k": 1}, PARTS, second, told.append)
    assert second.asked == [2] and told == [2, 3]
    again = Ledger(tmp_path).gather("squares", {"k": 1}, PARTS, third)
    assert third.asked == []
    for key in whole:
        assert torch.equal(whole[key], found[key]) and torch.equal(whole[key], again[key])


def test_other_settings_and_damaged_files_are_no_results(tmp_path: Path) -> None:
    Ledger(tmp_path).gather("squares", {"k": 1}, PARTS, Work())
    other, spoilt = Work(), Work()
    Ledger(tmp_path).gather("squares", {"k": 2}, PARTS, other)
    assert other.asked == [0, 1, 2]
    for path in tmp_path.iterdir():
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    Ledger(tmp_path).gather("squares", {"k": 1}, PARTS, spoilt)
    assert spoilt.asked == [0, 1, 2]


def test_a_digest_tells_weights_apart() -> None:
    torch.manual_seed(0)
    a, b = nn.Linear(3, 2), nn.Linear(3, 2)
    assert digest_of(a.state_dict()) == digest_of(a.state_dict()) != digest_of(b.state_dict())
    b.load_state_dict(a.state_dict())
    assert digest_of(a.state_dict()) == digest_of(b.state_dict())
    with torch.no_grad():
        b.bias[1] += 1e-6
    assert digest_of(a.state_dict()) != digest_of(b.state_dict())
