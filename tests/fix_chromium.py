"""Headless Chromium, driven over its DevTools protocol (https://chromedevtools.github.io/devtools-protocol)."""

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One page of a browser with a temporary profile."""

    def __init__(self, folder: Path) -> None:
        from websockets.sync.client import connect

        assert CHROMIUM
        self._process = subprocess.Popen(
            [
                CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
                "--disable-dev-shm-usage", "--remote-debugging-port=0", f"--user-data-dir={folder}",
                "--window-size=1400,900", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "about:blank",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stderr
        address = next(line.split()[-1] for line in self._process.stderr if "DevTools listening" in line)
        self._stack = ExitStack()
        self._socket = self._stack.enter_context(connect(address, max_size=None, proxy=None))
        self._number = 0
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        self.call("Page.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a DevTools method of the page and return its result."""
        return self._call(method, params, self._session)

    def cookie(self, url: str, name: str, value: str) -> None:
        """Set a cookie."""
        self.call("Network.setCookie", url=url, name=name, value=value)

    def show(self, url: str, *texts: str, seconds: float = 60) -> str:
        """Open a page and return its text when it contains all ``texts``; raises with the text after ``seconds``."""
        self.call("Page.navigate", url=url)
        expected = json.dumps(texts)
        self.wait(f"document.body && {expected}.every(text => document.body.innerText.includes(text))", seconds)
        return str(self.evaluate("document.body.innerText"))

    def wait(self, condition: str, seconds: float = 60) -> None:
        """Wait until a script returns true; raises with the text of the page after ``seconds``."""
        deadline = time.monotonic() + seconds
        while not self.evaluate(condition):
            if time.monotonic() > deadline:
                raise AssertionError(f"not {condition}:\n{self.evaluate('document.body.innerText')}")
            time.sleep(0.2)

    def evaluate(self, script: str) -> Any:
        """Return the value of a script."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def picture(self) -> bytes:
        """Return the page as a PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def close(self) -> None:
        """Close the browser."""
        with suppress(Exception):
            self._call("Browser.close", {})
        self._stack.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()
        self._process.communicate()

    def _call(self, method: str, params: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        while True:
            response = json.loads(self._socket.recv(60))
            if response.get("id") == self._number:
                assert "error" not in response, response
                return response["result"]


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A browser that can reach only this machine; skips the test if Chromium is not installed."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    folder = Path(tempfile.mkdtemp(prefix="warehouse-chromium-"))
    browser = Browser(folder)
    yield browser
    browser.close()
    shutil.rmtree(folder, ignore_errors=True)
