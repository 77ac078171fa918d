"""CONTRIBUTING.md: the example format works as it is printed."""

import inspect
import re
from pathlib import Path

import pytest
from fix_formats import ARRIVED

from collector.formats.measurement import Measurement, Reader, Topic
from collector.message import Message, Reason, UndecodableError

TEXT = (Path(__file__).parents[3] / "CONTRIBUTING.md").read_text()


@pytest.fixture(scope="module")
def reader():
    """Return the reader of the example."""
    [program] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict = {"__name__": "toy"}
    exec(program, names)
    return names["ToyFormat"]().reader()


def test_example_follows_the_protocol(reader):
    """The example's method has the parameters of every reader."""
    assert list(inspect.signature(reader.read).parameters) == list(inspect.signature(Reader.read).parameters)[1:]


def test_example_reads_its_payload(reader):
    """The payload in the docstring becomes two measurements."""
    message = Message("toy/t1", b"temperature=21.5;humidity=48", ARRIVED)
    assert reader.read(message, Topic()) == [Measurement("temperature", 21.5), Measurement("humidity", 48.0)]


@pytest.mark.parametrize("payload", [b"21.5", b"a=b", b"\xff=1", b"a=1;", b""])
def test_example_refuses_malformed_payloads(reader, payload):
    """Any other payload is malformed."""
    with pytest.raises(UndecodableError) as caught:
        reader.read(Message("toy/t1", payload, ARRIVED), Topic())
    assert caught.value.rejection.reason is Reason.MALFORMED
