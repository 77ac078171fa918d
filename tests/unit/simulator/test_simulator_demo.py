"""Steps of the demonstration, without servers."""

import contextlib
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from simulator import demo


@pytest.fixture
def steps(monkeypatch, tmp_path):
    """Run a demonstration without programs and servers; return the times of its steps."""
    times = {}
    nothing = contextlib.nullcontext()
    monkeypatch.setattr(demo.database, "connect", lambda **_: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(demo, "Publisher", lambda *_: nothing)
    for name in (
        "_start_servers",
        "_make_devices",
        "_run_program",
        "_load_example",
        "_start",
        "_live_options",
        "_print_line",
    ):
        monkeypatch.setattr(demo.Demo, name, lambda *_, **__: ((None, None)))

    def load_history(*_):
        times["loaded"] = datetime.now(UTC)

    def has_live_readings(_self, _connection, _devices, since):
        times["since"] = since
        raise demo.StoppedError

    monkeypatch.setattr(demo.Demo, "_load_history", load_history)
    monkeypatch.setattr(demo.Demo, "_has_live_readings", has_live_readings)
    demonstration = demo.Demo(demo.Options(directory=tmp_path), lambda: False)
    with contextlib.suppress(demo.StoppedError):
        demonstration.run()
    return times


def test_readings_of_the_history_do_not_count_as_live(steps):
    """Only readings after the end of the history count as live, not those of a minute during its publication."""
    assert steps["since"] >= steps["loaded"]
