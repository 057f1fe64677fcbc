"""How long something lasted, in words, alike wherever somebody reads it."""


def duration(seconds: float) -> str:
    """Rounded to what matters: 45 s, 12 min, 1 h 30 min, 3 days."""
    whole_s = max(0, round(seconds))
    if whole_s < 90:
        return f"{whole_s} s"
    minutes = round(whole_s / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
    return f"{round(minutes / 1440)} days"
