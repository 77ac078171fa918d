"""Examples of request bodies."""

from typing import Any

from access.openapi.models import TIME

POST_READINGS: dict[str, Any] = {
    "wide": {
        "summary": "One reading, with the quantity as member",
        "value": {"device_id": "porch", "timestamp": TIME, "temperature": 21.5, "tag": "garden"},
    },
    "narrow": {
        "summary": "One reading, with name and value of the quantity",
        "value": {"device_id": "porch", "timestamp": TIME, "sensor": "temperature", "value": 21.5},
    },
    "several": {
        "summary": "Several readings, in both formats",
        "value": [
            {"device_id": "porch", "timestamp": TIME, "temperature": 21.5, "humidity": 48},
            {"device_id": "shed", "timestamp": TIME, "sensor": "temperature", "value": 9.5},
        ],
    },
}
