"""A program at a real terminal: what it wrote, and what stood on the screen after each piece of it."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
import unicodedata


class Screen:
    """What a person sees of a terminal: lines, carriage returns and backspaces, and what wraps."""

    def __init__(self, width: int) -> None:
        self.lines = [""]
        self._width = width
        self._at = 0

    def take(self, text: str) -> None:
        for character in text:
            match character:
                case "\r":
                    self._at = 0
                case "\b":
                    self._at = max(0, self._at - 1)
                case "\n":
                    self.lines.append("")
                    self._at = 0
                case _:
                    self._put(character)

    def _put(self, character: str) -> None:
        # A wide character takes two places: a blank that belongs to it stands in the second.
        places = character + ("\0" if unicodedata.east_asian_width(character) in "WF" else "")
        if self._at + len(places) > self._width:
            self.lines.append("")
            self._at = 0
        line = self.lines[-1].ljust(self._at)
        self.lines[-1] = line[: self._at] + places + line[self._at + len(places) :]
        self._at += len(places)

    @property
    def text(self) -> list[str]:
        """The lines as they are read, without blanks at their ends."""
        return [line.replace("\0", "").rstrip() for line in self.lines]


class Terminal:
    """A program whose three streams are a terminal, `width` columns wide."""

    def __init__(self, command: list[str], environment: dict[str, str], *, width: int = 80, **streams: int) -> None:
        self.raw = ""
        self.shots: list[list[str]] = []
        self.screen = Screen(width)
        self._leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        given = {"stdin": follower, "stdout": follower, "stderr": follower, **streams}
        self.process = subprocess.Popen(
            command,
            env={"TERM": "xterm", **environment},
            start_new_session=True,
            # As in a person's terminal, whoever started the trials in the background.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no thread forks here
            **given,
        )
        os.close(follower)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._leader)

    def type(self, text: str) -> None:
        os.write(self._leader, text.encode())

    def read(self, for_s: float) -> bool:
        """Reads what comes within a time; False when the program has closed the terminal."""
        if not select.select([self._leader], [], [], for_s)[0]:
            return True
        try:
            data = os.read(self._leader, 65_536)
        except OSError:
            return False
        text = data.decode(errors="replace")
        self.raw += text
        self.screen.take(text)
        self.shots.append(self.screen.text)
        return bool(data)

    def until(self, words: str, timeout_s: float = 60.0) -> None:
        """Reads until these words stand on the screen."""
        deadline = time.monotonic() + timeout_s
        while not any(words in line for line in self.screen.text):
            assert time.monotonic() < deadline, (words, self.screen.text)
            assert self.read(0.2), (words, self.screen.text)

    def end(self, timeout_s: float = 60.0) -> int:
        """Reads to the end and returns the exit code."""
        deadline = time.monotonic() + timeout_s
        while self.read(0.2) and self.process.poll() is None:
            assert time.monotonic() < deadline, self.screen.text
        while self.read(0.0) and select.select([self._leader], [], [], 0)[0]:
            pass
        return self.process.wait(timeout_s)
