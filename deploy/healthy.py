#!/usr/bin/python3
"""`healthy URL [PART]`, for containers: status 0 where URL answers 200 (and says that PART of Airflow is healthy)."""

import json
import sys
import urllib.request

url, *parts = sys.argv[1:]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
try:
    with opener.open(url, timeout=4) as answer:
        text = answer.read().decode()
except OSError as error:
    # What /ready waits for is in the body of its 503.
    text = error.read().decode() if hasattr(error, "read") else ""
    sys.exit(f"{error} {text}".strip())
if any(json.loads(text)[part]["status"] != "healthy" for part in parts):
    sys.exit(text)
print(text.strip())
