"""Numbers, times and histories as short texts. Pure."""

from collections.abc import Sequence
from datetime import datetime

BARS = "▁▂▃▄▅▆▇█"
NEVER = "∞"
NONE = "·"


def span(seconds: float | None) -> str:
    """A time span in at most six places: `0.4s`, `12s`, `4m10s`, `1h12m`, `3d4h`."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    for first, second, unit, below in ((86_400, 3_600, "d", "h"), (3_600, 60, "h", "m")):
        if whole >= first:
            rest = whole % first // second
            return f"{whole // first}{unit}{f'{rest}{below}' if rest else ''}"
    if whole < 60:
        return f"{whole}s"
    rest = whole % 60
    return f"{whole // 60}m{f'{rest}s' if rest and whole < 600 else ''}"


def since(moment: datetime | None, now_ms: int) -> float | None:
    """Seconds since a moment, or below 0 until it; None for none."""
    return None if moment is None else now_ms / 1_000 - moment.timestamp()


def ago(moment: datetime | None, now_ms: int) -> str:
    """How long ago, or `in 4m`."""
    seconds = since(moment, now_ms)
    if seconds is None:
        return ""
    return span(seconds) if seconds >= 0 else f"in {span(-seconds)}"


def clock(moment: datetime | None) -> str:
    """The time of day here, to the second."""
    return moment.astimezone().strftime("%H:%M:%S") if moment else ""


def rate(per_s: float) -> str:
    """Jobs a second in at most five places; what is slower than one in 20 s still shows."""
    if not per_s:
        return NONE
    for limit, form in ((0.095, "{:.2f}"), (99.5, "{:.1f}")):
        if per_s < limit:
            return form.format(per_s)
    return f"{per_s:,.0f}"


def size(count: float) -> str:
    """Bytes: `41 MB`, `1.5 GB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1_000:
            return f"{count:.0f} {unit}"
        count /= 1_000
    return f"{count:.1f} GB"


def sparkline(history: Sequence[int], points: int) -> str:
    """A history in so many characters at most, its highest point at the top; nothing for none."""
    if not any(history):
        return ""
    if len(history) > points:
        step = len(history) / points
        history = [
            max(history[int(at * step) : max(int(at * step) + 1, int((at + 1) * step))])
            for at in range(points)
        ]
    top = max(history)
    return "".join(BARS[min(7, round(value / top * 7))] for value in history)
