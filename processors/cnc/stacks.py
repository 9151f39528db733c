"""Stack traces of several languages: the exception's type, and frames, the innermost first."""

import re
from collections.abc import Sequence

import msgspec

from processors.cnc.masking import masked

FRAMES_MAX, END_MAX = 200, 30_000
PYTHON = re.compile(r'^\s*File "(?P<file>[^"]+)", line \d+, in (?P<function>\S+)', re.MULTILINE)
OTHERS = (
    # Node: `at async Shop.pay (/app/shop.js:10:5)`, `at /app/shop.js:10:5`
    re.compile(
        r"^\s*at (?:async )?(?:(?P<function>[^\n(]+?) \()?(?P<file>[^\s()]+?):\d+:\d+\)?\s*$", re.M
    ),
    # Java, Kotlin: `at com.shop.Pay.run(Pay.java:42)`
    re.compile(
        r"^\s*at (?P<function>[\w.$<>/]+)\((?P<file>[\w.]+\.(?:java|kt|scala))(?::\d+)?\)", re.M
    ),
    # .NET: `at Shop.Pay.Run(String id) in C:\src\Pay.cs:line 42`
    re.compile(r"^\s*at (?P<function>[\w.`<>]+)\([^)]*\)(?: in (?P<file>.+?):line \d+)?\s*$", re.M),
    # Ruby: `/app/pay.rb:12:in 'run'`
    re.compile(r"^\s*(?:from )?(?P<file>\S+\.rb):\d+:in [`'](?P<function>[^`'\n]+)'", re.M),
    # PHP: `#0 /app/pay.php(12): Shop\Pay->run()`
    re.compile(r"^#\d+ (?P<file>\S+\.php)\(\d+\): (?P<function>[^\n(]+)\(", re.M),
    # Go: `main.pay(0x1)` and on the next line `	/app/pay.go:12 +0x1b`
    re.compile(r"^(?P<function>[\w./*()]+?)\([^\n]*\)\n\t(?P<file>\S+\.go):\d+", re.M),
)
FOREIGN = re.compile(
    r"site-packages|dist-packages|/lib/python\d|node_modules|^node:|^internal/|<frozen|<anonymous>"
    r"|/usr/(?:local/)?go/|/go/pkg/mod/|/gems/|/vendor/"
)
FOREIGN_CODE = re.compile(
    r"^(?:java|javax|jdk|sun|kotlin|scala|org\.springframework|org\.apache|io\.netty|com\.sun|System|"
    r"Microsoft|runtime)[./]"
)
TYPE = re.compile(
    r"^(?:Caused by: |Uncaught |Unhandled |Exception in thread \"[^\"\n]*\" )?"
    r"(?P<type>(?:[A-Za-z_$][\w$]*\.)*[A-Z][\w$]*(?:Error|Exception|Warning|Timeout|Failure|Fault|"
    r"Canceled|Cancelled|Interrupt|Exit|Violation|Refused|Reset|Denied)?)(?=: |$|\n)"
)
ENDS = ("Error", "Exception", "Warning", "Timeout", "Failure", "Fault", "Canceled", "Violation")


class Frame(msgspec.Struct, frozen=True):
    """One call. Lines are left out: they move with every change of the file."""

    module: str
    function: str
    in_app: bool


class Trace(msgspec.Struct, frozen=True):
    """What a stack tells."""

    exception: str = ""
    frames: tuple[Frame, ...] = ()

    @property
    def own(self) -> tuple[Frame, ...]:
        """The frames of the app itself; all where none is."""
        return tuple(frame for frame in self.frames if frame.in_app) or self.frames


def trace_of(message: str, stack: str | None) -> Trace:
    """The type and the frames of an error; the stack may stand in the message."""
    text = stack or message
    if len(text) > 2 * END_MAX:  # both ends tell what happened
        text = f"{text[:END_MAX]}\n{text[-END_MAX:]}"
    return Trace(exception_of(message, text), tuple(frames_of(text)[:FRAMES_MAX]))


def exception_of(message: str, stack: str) -> str:
    """The type of the exception, "" where none is named."""
    lines = [line for line in stack.splitlines() if line.strip()]
    is_python = bool(PYTHON.search(stack)) or "Traceback" in stack
    first = [lines[-1]] if lines and is_python else lines[:1]
    for line in [*first, message.split("\n", 1)[0], *lines]:
        match = TYPE.match(line.strip())
        if match and ("." in match["type"] or match["type"].endswith(ENDS)):
            return match["type"]
    return "panic" if re.search(r"^panic: ", stack, re.MULTILINE) else ""


def frames_of(stack: str) -> list[Frame]:
    """The frames, the innermost first: Python writes them the other way round."""
    found = [frame_of(match) for match in PYTHON.finditer(stack)]
    if found:
        return found[::-1]
    for pattern in OTHERS:
        found = [frame_of(match) for match in pattern.finditer(stack)]
        if found:
            return found
    return []


def frame_of(match: re.Match[str]) -> Frame:
    """A frame, without what changes between two builds."""
    file, function = match["file"] or "", (match["function"] or "").strip()
    in_app = not (FOREIGN.search(file.replace("\\", "/")) or FOREIGN_CODE.match(function))
    return Frame(module_of(file), masked(function).replace(" ", ""), in_app)


def module_of(file: str) -> str:
    """The last folder and the file's name, without its ending and without hashes of builds."""
    parts = [part for part in re.split(r"[\\/]", file) if part]
    kept = [masked(part.rsplit(".", 1)[0] or part) for part in parts[-2:]]
    return "/".join(kept)


def described(frames: Sequence[Frame]) -> list[str]:
    """The frames as a line each."""
    return [f"{frame.module}:{frame.function}" for frame in frames]
