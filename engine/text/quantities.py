"""Quantities as people read them."""

BYTES = ("B", "kB", "MB", "GB", "TB")
COUNTS = ("", "k", "M", "G", "T", "P")
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _scaled(value: float, units: tuple[str, ...]) -> str:
    place = 0
    while value >= 999.5 and place < len(units) - 1:
        value, place = value / 1000, place + 1
    digits = 0 if value >= 99.5 or place == 0 else 1
    return f"{value:.{digits}f} {units[place]}".rstrip()


def memory(size: float) -> str:
    """Bytes: 12.3 MB."""
    return _scaled(size, BYTES)


def operations(count: float) -> str:
    """Floating-point operations: 1.4 G."""
    return _scaled(count, COUNTS)


def duration(seconds: float) -> str:
    """Seconds: 0.4 ms, 23 ms, 1.4 s, 2 min 5 s."""
    if seconds < 0.00995:
        return f"{1000 * seconds:.1f} ms"
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def share(value: float) -> str:
    """A share of 1 in per cent, to two digits where it is small: 39%, 3.9%, 0.39%."""
    percent = 100 * value
    if percent >= 9.95 or percent == 0:
        return f"{percent:.0f}%"
    return f"{percent:.2g}%" if percent >= 0.001 else "< 0.001%"


def tiny(value: float) -> str:
    """A number near 0, to one digit: 2×10⁻⁷."""
    if value == 0:
        return "0"
    digits, power = f"{value:.0e}".split("e")
    return f"{digits}×10{str(int(power)).translate(RAISED)}"
