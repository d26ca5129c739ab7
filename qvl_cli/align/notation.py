"""Parts of written times, as patterns to be read without regard to case."""

SECONDS = r"(?:seconds?|secs?|s)\b"
MINUTES = r"(?:minutes?|mins?|m)\b"
HOURS = r"(?:hours?|hrs?|h)\b"
DASH = r"(?:-->|->|=>|→|–|—|-|~|\.\.+|\bto\b|\buntil\b|\btill\b|\bthrough\b)"  # from a start to its end
