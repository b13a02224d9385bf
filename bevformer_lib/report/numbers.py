"""Numbers and names as people read them; ``None`` (nothing to compute it from) is a dash.

A number and its unit are held together by a narrow no-break space.
"""

from __future__ import annotations

from typing import Final

UNDEFINED: Final = "–"  # noqa: RUF001 (an en dash is meant)
_SPACE: Final = "\u202f"
_SUPERSCRIPTS: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_LONGEST_NAME: Final = 18
_BYTE_UNITS: Final = ("kB", "MB", "GB", "TB")


def cosine(value: float | None) -> str:
    """Six decimals: a quantised model's fourth digit matters."""
    return UNDEFINED if value is None else f"{value:.6f}"


def percent(value: float | None) -> str:
    """Per cent with one decimal."""
    return UNDEFINED if value is None else f"{value * 100:.1f}{_SPACE}%"


def error(value: float | None) -> str:
    """A relative error: per cent with three digits, powers of ten where that would be a row of zeros."""
    if value is None:
        return UNDEFINED
    scaled = value * 100
    if scaled == 0 or scaled >= 0.001:
        return f"{significant(scaled)}{_SPACE}%"
    return f"{significant(value)}"


def significant(value: float | None, digits: int = 3) -> str:
    """A few significant digits; powers of ten only for the very small and the very large."""
    if value is None:
        return UNDEFINED
    if value == 0:
        return "0"
    mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
    exponent = int(power)
    if -4 <= exponent < 6:
        return f"{value:.{max(0, digits - 1 - exponent)}f}"
    return f"{mantissa}·10{str(exponent).translate(_SUPERSCRIPTS)}"


def seconds(value: float | None) -> str:
    """Milliseconds, seconds or minutes, whichever reads best."""
    if value is None:
        return UNDEFINED
    if value < 1:
        return f"{significant(value * 1000)}{_SPACE}ms"
    if value < 60:
        return f"{significant(value)}{_SPACE}s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}{_SPACE}min {rest}{_SPACE}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{_SPACE}h {minutes}{_SPACE}min"


def size(num_bytes: int) -> str:
    """Bytes in decimal units."""
    if num_bytes < 1000:
        return f"{num_bytes}{_SPACE}B"
    scaled, unit = float(num_bytes), ""
    for name in _BYTE_UNITS:
        scaled, unit = scaled / 1000, name
        if scaled < 999.5:
            break
    return f"{significant(scaled)}{_SPACE}{unit}"


def count(value: int, one: str | None = None, many: str | None = None) -> str:
    """A whole number with thousands apart; with a noun, in its right form."""
    number = f"{value:,}".replace(",", _SPACE)
    if one is None:
        return number
    return f"{number}\u00a0{one if value == 1 else many or one + 's'}"


def metres(value: float | None) -> str:
    """Metres with two decimals."""
    return UNDEFINED if value is None else f"{value:.2f}{_SPACE}m"


def decimals(value: float | None) -> str:
    """Three decimals: precision, recall, F1, scores."""
    return UNDEFINED if value is None else f"{value:.3f}"


def signed(value: float | None) -> str:
    """A change, with three decimals and its sign."""
    return UNDEFINED if value is None else f"{value:+.3f}".replace("-", "\u2212")


def general(value: float | None) -> str:
    """Six significant digits, as gates compare them."""
    return UNDEFINED if value is None else f"{value:.6g}"


def words(name: str) -> str:
    """A class's name as people write it."""
    return name.replace("_", " ")


def short_name(name: str) -> str:
    """Shorten a scene's name (often a 32-digit token) for a legend or a table."""
    return name if len(name) <= _LONGEST_NAME else f"{name[:12]}…"


_ALL: Final = (
    *(cosine, percent, error, significant, seconds, size, count, metres, decimals, signed, general),
    *(words, short_name),
)
FILTERS: Final = {one.__name__: one for one in _ALL}
"""What templates may use, by name."""
