#!/usr/bin/python3
"""Health check of containers, `healthy URL [PART]`: status 0 if URL answers 200 (and PART of Airflow is healthy)."""

import json
import sys
import urllib.request

url, *parts = sys.argv[1:]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
try:
    with opener.open(url, timeout=4) as response:
        text = response.read().decode()
except OSError as error:
    # The body of a 503 of /ready lists the missing services.
    text = error.read().decode() if hasattr(error, "read") else ""
    sys.exit(f"{error} {text}".strip())
if any(json.loads(text)[part]["status"] != "healthy" for part in parts):
    sys.exit(text)
print(text.strip())
