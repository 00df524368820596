"""Random numbers of the kernel."""

import os
import random

import pytest

from wsgid.linux import chance


def test_numbers_lie_between_the_bounds_and_differ() -> None:
    numbers = {chance.between(0.8, 1.2) for _ in range(1000)}
    assert len(numbers) == 1000
    assert 0.8 <= min(numbers) < 0.9 and 1.1 < max(numbers) <= 1.2  # one run in 10**50 would fail


def test_the_least_and_the_greatest_bits_give_numbers_from_0_to_1_without_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", lambda count: b"\x00" * count)
    assert chance.fraction() == 0.0
    monkeypatch.setattr(os, "urandom", lambda count: b"\xff" * count)
    assert 1 - 2**-52 < chance.fraction() < 1


def test_a_seed_of_the_application_does_not_matter() -> None:
    random.seed(1)
    first = chance.fraction()
    random.seed(1)
    assert chance.fraction() != first
