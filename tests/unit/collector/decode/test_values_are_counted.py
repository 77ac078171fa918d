"""No value vanishes: whatever replaces one value of a real message, all others are readings and that one is counted."""

import random
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[4] / "bench"))

from fuzz import ARRIVED, registry_of, samples
from value_mutations import ValueMutations

SAMPLES = [sample for sample in samples() if sample.format != "sparkplug"]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"{sample.format} {sample.topic}"[:60])
def test_values_are_counted(sample) -> None:
    """One replaced value costs itself, and is counted as a reading, quarantined or ignored."""
    mutations, source = ValueMutations(sample, registry_of([sample]), ARRIVED), random.Random(1)
    assert [problem for _ in range(60) if (problem := mutations.check(source)) is not None] == []
