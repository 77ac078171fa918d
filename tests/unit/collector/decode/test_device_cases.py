"""Messages of many devices (tests/cases/devices.json): a right reading, a reason with the fix, or a named count."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from test_message_cases import ARRIVED, Collector

from collector.message import Message

CASES = json.loads((Path(__file__).parents[3] / "cases" / "devices.json").read_text())["cases"]


def microseconds(text: str) -> int:
    """Return the time in ``text`` in microseconds since 1970; ``arrival`` may be followed by seconds: ``arrival+2``."""
    if text.startswith("arrival"):
        return ARRIVED + round(float(text[len("arrival") :] or 0) * 1_000_000)
    return round(datetime.fromisoformat(text).timestamp() * 1_000_000)


def registry(case: dict[str, Any]) -> dict[str, Any]:
    """Return the registry of ``case``: one type and one sensor pattern."""
    quantities = {
        name: {"interval_seconds": 60, **({"unit": quantity} if isinstance(quantity, str) else quantity)}
        for name, quantity in case["quantities"].items()
    }
    return {
        "subscribe": ["#"],
        "types": {"t": {"format": case["format"], "quantities": quantities, **case.get("type", {})}},
        "sensors": [
            {"type": "t", "topic": case["topic"], "site": "s", "area": "a", "discover": True, **case.get("sensor", {})}
        ],
    }


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_case(case: dict[str, Any]) -> None:
    """Readings, quarantined readings with their details, and ignored values are those of the case."""
    collector = Collector(registry(case))
    arrival = microseconds(case.get("arrival", "arrival"))
    for payload in case["messages"]:
        text = payload if isinstance(payload, str) else json.dumps(payload)
        message = Message(
            case["on"], text.encode(), arrival, retained=case.get("retained", False), waited=case.get("waited_us", 0)
        )
        collector.add(message)
    expected = [(sensor, name, microseconds(time), value) for sensor, name, time, value in case.get("readings", ())]
    assert [row[:3] for row in collector.rows] == [row[:3] for row in expected]
    assert [row[3] for row in collector.rows] == pytest.approx([row[3] for row in expected])
    assert {str(reason): count for reason, count in collector.quarantined.items()} == case.get("quarantined", {})
    assert {str(reason): count for reason, count in collector.ignored.items()} == case.get("ignored", {})
    for part in case.get("details", ()):
        assert part in " | ".join(collector.details)
    for part in case.get("not_in_details", ()):
        assert part not in " | ".join(collector.details)
