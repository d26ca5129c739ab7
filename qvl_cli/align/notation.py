"""Parts of written times, as patterns to be read without regard to case.

Prompts are English, but a model answers a question in the question's language, and then its times too.
"""

# No letter or digit follows, but for those of scripts that part no words: `12s到40s`.
_END = r"(?![^\W\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af])"
SECONDS = (
    r"(?:(?:seconds?|secs?|s|sek(?:unden?)?|segundos?|seg|secondes?|second[io]|сек(?:унд\w*)?)"
    rf"{_END}|秒钟?|초)"
)
MINUTES = rf"(?:(?:minutes?|mins?|m|minuten?|minutos?|minut[io]|мин(?:ут\w*)?){_END}|分钟?|분)"
HOURS = rf"(?:(?:hours?|hrs?|h|stunden?|heures?|horas?|час\w*){_END}|小时|小時|時間|시간)"
# From a start to its end.
DASH = (
    r"(?:-->|->|=>|→|–|—|-|~|～|〜|\.\.+|\b(?:to|until|till|through|bis|à|jusqu['’]à|hasta|até|до)\b"
    r"|[到至](?:\s*第)?|から|부터|에서)"
)
# Between two ends, where the words around them say so.
AND = r"\b(?:and|und|et|y|e|и)\b"
BETWEEN = r"\b(?:between|from|zwischen|entre|tra|между)"
