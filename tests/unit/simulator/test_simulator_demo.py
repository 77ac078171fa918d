"""The demonstration's own steps, without servers."""

import contextlib
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from simulator import demo


@pytest.fixture
def steps(monkeypatch, tmp_path):
    """Make a demonstration whose programs and servers are not started, and the list of what it has done when."""
    done = {}
    nothing = contextlib.nullcontext()
    monkeypatch.setattr(demo.database, "connect", lambda **_: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(demo, "Publisher", lambda *_: nothing)
    for name in ("_start_servers", "_players", "_call", "_load_example", "_start", "_live_options", "_say"):
        monkeypatch.setattr(demo.Demo, name, lambda *_, **__: ((None, None)))

    def fill(*_):
        done["filled"] = datetime.now(UTC)

    def alive(_self, _connection, _players, since):
        done["since"] = since
        raise demo.StoppedError

    monkeypatch.setattr(demo.Demo, "_fill", fill)
    monkeypatch.setattr(demo.Demo, "_alive", alive)
    one = demo.Demo(demo.Options(directory=tmp_path), lambda: False)
    with contextlib.suppress(demo.StoppedError):
        one.run()
    return done


def test_readings_of_the_history_do_not_count_as_live(steps):
    """The sensors are alive when they have readings from after the filling, not from a full minute while it ran."""
    assert steps["since"] >= steps["filled"]
