"""Parts of written times, as patterns to be read without regard to case.

Prompts are English, but a model answers a question in the question's language, and then its times too.
"""

SECONDS = (
    r"(?:(?:seconds?|secs?|s|sek(?:unden?)?|segundos?|seg|secondes?|second[io]|сек(?:унд\w*)?)\b|秒钟?|초)"
)
MINUTES = r"(?:(?:minutes?|mins?|m|minuten?|minutos?|minut[io]|мин(?:ут\w*)?)\b|分钟?|분)"
HOURS = r"(?:(?:hours?|hrs?|h|stunden?|std|heures?|horas?|or[ae]|час\w*)\b|小时|小時|時間|시간)"
# From a start to its end.
DASH = (
    r"(?:-->|->|=>|→|–|—|-|~|～|〜|\.\.+|\b(?:to|until|till|through|bis|à|jusqu['’]à|hasta|até|до)\b"
    r"|\ba(?=\s\d[\d.,]*\s*s(?:eg|econd[io]|\b))|到|至|から|부터)"
)
# Between two ends that `between` stands before.
AND = r"\b(?:and|und|et|y|e|и)\b|和|与"
BETWEEN = r"\b(?:between|from|zwischen|entre|tra|между)\s|在"
