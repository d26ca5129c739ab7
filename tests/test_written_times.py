"""What checkpoints really write when asked for times."""

from fractions import Fraction

import pytest

from qvl_cli.align.written import read_spans

TABLE: list[tuple[str, list[tuple[float, float | None]] | None]] = [
    # the form the prompt asks for
    ("12.5 - 20.0", [(12.5, 20)]),
    ("12.5 - 20.0\n33.0 - 41.5", [(12.5, 20), (33, 41.5)]),
    ("12 - 20", [(12, 20)]),
    ("12.5-20.0 s", [(12.5, 20)]),
    ("12.5s - 20.0s", [(12.5, 20)]),
    ("12.5 – 20.0 seconds.", [(12.5, 20)]),
    ("1. 12.5 - 20.0\n2. 33.0 - 41.5", [(12.5, 20), (33, 41.5)]),
    ("- 12.5 - 20.0\n- 33 - 41", [(12.5, 20), (33, 41)]),
    ("start 12.3 - end 15.6", [(12.3, 15.6)]),
    ("start 0:12 - end 0:15", [(12, 15)]),
    ("12.3 - the end of the video", [(12.3, None)]),
    ("never", []),
    ("Never.", []),
    # moments, one after another: a dash that begins a line, a full stop or a comma makes no range of two
    ("- <12.3 seconds>\n- <40.1 seconds>\n- <60.0 seconds>", [(12.3, 12.3), (40.1, 40.1), (60, 60)]),
    ("- 0:12\n- 0:40\n- 1:05", [(12, 12), (40, 40), (65, 65)]),
    ("1. 12.3\n2. 40.1", [(12.3, 12.3), (40.1, 40.1)]),
    ("It stops at <12.3 seconds>. It stops at <40.1 seconds> too.", [(12.3, 12.3), (40.1, 40.1)]),
    ("<12.3 seconds> the van stops. <20.1 seconds> it stops again.", [(12.3, 12.3), (20.1, 20.1)]),
    ("at <12.3 seconds>, <20.1 seconds> and <31.0 seconds>", [(12.3, 12.3), (20.1, 20.1), (31, 31)]),
    ("The van stops at 0:12 and 0:20.", [(12, 12), (20, 20)]),
    # no time of any video
    ("1" + "0" * 400, None),
    ("1" + "0" * 400 + " - 5", None),
    ('"never"', []),
    ("Never. From 0 to 139 s the video shows an empty street.", []),
    ("never - the road stays empty from 0:00 to 2:19", []),
    ("Never, as far as I see: 0 - 139 s show an empty street.", []),
    ("**Never**\n0.0 - 139.0: an empty street", []),
    ("Never. But from 12.3 to 40.1 s a van stops.", [(12.3, 40.1)]),
    ("Never. The video shows nothing but an empty street from 0 to 139 s.", []),
    ("Never. Actually the road is empty from 0 to 139 s.", []),
    ("Never. It stays empty until 12.0 s, and from 12.0 to 139.0 s it is dark.", []),
    ("Never mind the cars: 12.3 - 40.1", [(12.3, 40.1)]),
    ("Never-ending rain from 5 to 9 s", [(5, 9)]),
    # in the language of the question
    ("von 12,3 s bis 40,1 s", [(12.3, 40.1)]),
    ("Der Wagen hält von 12,3 bis 40,1 Sekunden an.", [(12.3, 40.1)]),
    ("zwischen 5 und 9 Sekunden", [(5, 9)]),
    ("von 1 Minute 5 Sekunden bis 2 Minuten", [(65, 120)]),
    ("de 12,3 s à 40,1 s", [(12.3, 40.1)]),
    ("entre 5 et 9 secondes", [(5, 9)]),
    ("de 12 s a 40 s", [(12, 40)]),
    ("de 12 a 40 segundos", [(12, 40)]),
    ("desde 12 hasta 40 segundos", [(12, 40)]),
    ("entre 5 y 9 segundos", [(5, 9)]),
    ("da 12 a 40 secondi", [(12, 40)]),
    ("от 12 до 40 секунд", [(12, 40)]),
    ("从12.3秒到40.1秒", [(12.3, 40.1)]),
    ("从 12 秒到 40 秒，一辆车停下来。", [(12, 40)]),
    ("12.3秒至40.1秒", [(12.3, 40.1)]),
    ("在1分5秒到1分10秒之间", [(65, 70)]),
    ("在5秒和9秒之间", [(5, 9)]),
    ("0:12到0:40", [(12, 40)]),
    ("事件发生在12秒。", [(12, 12)]),
    ("12秒から40秒まで", [(12, 40)]),
    ("12초부터 40초까지", [(12, 40)]),
    ("um 12,3 s und 40,1 s", [(12.3, 12.3), (40.1, 40.1)]),
    ("得了3分", None),
    ("les enfants 2 et 3", None),
    ("At 12 s a 40 year old man appears.", [(12, 12)]),
    ("zwischen 12,3 und 40,1 Sekunden", [(12.3, 40.1)]),
    ("entre 12,3 et 40,1 secondes", [(12.3, 40.1)]),
    ("von 1 Minute und 5 Sekunden bis 2 Minuten", [(65, 120)]),
    ("de 1 minuto y 5 segundos a 2 minutos", [(65, 120)]),
    ("de 0:12 a 0:40", [(12, 40)]),
    ("从12s到40s", [(12, 40)]),
    ("12.3s到40.1s之间", [(12.3, 40.1)]),
    ("从第12秒到第40秒", [(12, 40)]),
    ("12초에서 40초까지", [(12, 40)]),
    ("на 12 секунде", [(12, 12)]),
    ("At 12 s a 40 s clip begins.", [(12, 12), (40, 40)]),
    ("It appears at 5 seconds. At 12 s a 30 s timer is shown.", [(5, 5), (12, 12), (30, 30)]),
    ("红色圆圈在5秒和9秒各出现一次。", [(5, 5), (9, 9)]),
    ("It flies 5 ore.", None),
    # prose
    ("The event happens from 24.3 to 30.4 seconds.", [(24.3, 30.4)]),
    ("from 12s to 20s", [(12, 20)]),
    ("The given query happens in 0.0 - 11.6 seconds.", [(0, 11.6)]),
    ("It happens between 5 and 9 seconds and from 20 seconds until 25 seconds.", [(5, 9), (20, 25)]),
    ("A man enters at <12.5 seconds> and leaves at <20.0 seconds>.", [(12.5, 20)]),
    ("It appears at <12.5 seconds> and again at <20.0 seconds>.", [(12.5, 12.5), (20, 20)]),
    ("<12.5 seconds> to <20.0 seconds>", [(12.5, 20)]),
    ("<12.5 - 20.0 seconds>", [(12.5, 20)]),
    ("<12.5 seconds>", [(12.5, 12.5)]),
    ("It happens at 12.5 seconds.", [(12.5, 12.5)]),
    ("12.5", [(12.5, 12.5)]),
    ("**0.0s** to **3.5s**", [(0, 3.5)]),
    ("From 1 minute 5 seconds to 70 seconds", [(65, 70)]),
    ("1m5s - 1m10s", [(65, 70)]),
    ("from 1 min to 2 min 30 s", [(60, 150)]),
    ("12.5 s through 20 s", [(12.5, 20)]),
    # clocks
    ("00:12.5 --> 00:20", [(12.5, 20)]),
    ("00:00:12,500 --> 00:00:20,000", [(12.5, 20)]),
    ("1:05 - 1:10", [(65, 70)]),
    ("[00:12 - 00:20]", [(12, 20)]),
    ("01:02:03.5-01:02:10", [(3723.5, 3730)]),
    ("(0:05) to (0:09)", [(5, 9)]),
    ("05:61 - 05:70", None),
    # JSON, whole, fenced, cut short
    ('{"start": 12.5, "end": 20.0}', [(12.5, 20)]),
    ('```json\n[{"start": "00:12.50", "end": "00:20.00", "description": "a goal"}]\n```', [(12.5, 20)]),
    ('[{"start_time": 1, "label": "x", "end_time": 2}, {"start_time": 5, "end_time": 8}]', [(1, 2), (5, 8)]),
    ('[\n  {\n    "start": "12.5 seconds",\n    "end": "20.0 seconds"\n  }\n]', [(12.5, 20)]),
    ('{"timestamp": "00:12 - 00:20", "event": "2 cars"}', [(12, 20)]),
    ('[{"start": 1, "end": 2}, {"start": 5, "en', [(1, 2)]),
    ("{'start': 1.5, 'end': 2}", [(1.5, 2)]),
    ("[12.5, 20.0]", [(12.5, 20)]),
    ("[[12.5, 20.0], [33.0, 41.5]]", [(12.5, 20), (33, 41.5)]),
    ('["00:12", "00:20"]', [(12, 20)]),
    ("start: 3.0s, end: 4.5s", [(3, 4.5)]),
    ("Start time: 0:03\nEnd time: 0:04", [(3, 4)]),
    ("[]", []),
    ("null", []),
    # no
    ("The event does not happen in the video.", []),
    ("A van doesn't appear between 0 and 61 seconds.", []),
    ("There is no such event in the video.", []),
    ("The red circle is not visible.", []),
    ("None of the people wear hats.", []),
    # neither a range nor a no
    ("A red circle moves to the left.", None),
    ("There are 2 people.", None),
    ("", None),
    ("20.0 - 12.5", None),
    ("frames 3 to 9", None),
    # numbers that count things are no times
    ("The 2-3 people walk in at <10.0 seconds>", [(10, 10)]),
    ("2-3 people walk in at <10.0 seconds>.", [(10, 10)]),
    ("**2-3** people walk in at 10 s", [(10, 10)]),
    ("2 to 3 people walk in from 10 to 12.5", [(10, 12.5)]),
    ("There are 2-3 people.", None),
    ("About 30 people walk in at 12.5 s.", [(12.5, 12.5)]),
    ("He enters at 12.5 s and 20 people leave.", [(12.5, 12.5)]),
    ("a 4-1 win at 12.5 s", [(12.5, 12.5)]),
    ("It is a 4-1 win.", None),
    ("They lead 4-5 at 12.5 s.", [(12.5, 12.5)]),
    ("The score is 1-4, a goal at 12.5 s.", [(12.5, 12.5)]),
    ("2-3 Personen kommen bei <10.0 seconds>", [(10, 10)]),
    ("It is 2.5-3.5 metres away", None),
    ("scenes 3 to 5", None),
    ("In scenes 3 to 5, from 12.5 to 20.0.", [(12.5, 20)]),
    ("frames 30 to 90 (1.0 s - 3.0 s)", [(1, 3)]),
    ("5 to 7 men enter at <10.0 seconds> and leave at <20.0 seconds>", [(10, 20)]),
    # and such that look like it
    ("5-10 minutes", [(300, 600)]),
    ("from 1.5 to 2 min", [(90, 120)]),
    ("from 30 to 2 min 10 s", [(30, 130)]),
    ("from 50 s to 2 minutes", [(50, 120)]),
    ("0.5 - 1.5 minutes", [(30, 90)]),
    ("It happens at 1.5 minutes.", [(90, 90)]),
    ("start: 1.5 min, end: 2 min", [(90, 120)]),
    ("1.5 min - 2 min", [(90, 120)]),
    ("1 minute, 5 seconds to 1 minute, 10 seconds", [(65, 70)]),
    ("from 1 hour 5 minutes to 1 hour 10 minutes", [(3900, 4200)]),
    ("1h 2m 3s - 1h 3m", [(3723, 3780)]),
    ("from 1 hour to 2 hours", [(3600, 7200)]),
    ("1-2 hours", [(3600, 7200)]),
    ("5-10 seconds", [(5, 10)]),
    ("It takes place 5-10 seconds in", [(5, 10)]),
    ("The event 1 min - 2 min lasts 60 s.", [(60, 120)]),
    ("5-10秒", [(5, 10)]),
    ("5-10", [(5, 10)]),
    ("The event: 5-10", [(5, 10)]),
    ("The event lasts 5-10.", [(5, 10)]),
    ("5-9 and 20-25 seconds", [(5, 9), (20, 25)]),
    ("It happens 5-9 and 20-25 seconds in.", [(5, 9), (20, 25)]),
    ("From 5 to 10 a man walks in.", [(5, 10)]),
    ("From 5 to 10, lasting 5 seconds.", [(5, 10)]),
    ("5 - 10 Man walks in", [(5, 10)]),
    ("- 12.5 - 20.0 red circle", [(12.5, 20)]),
    ("1. 12.5 - 20.0 red circle\n2. 33.0 - 41.5 blue square", [(12.5, 20), (33, 41.5)]),
    ("At 7.5 a man and 2 dogs enter.", [(7.5, 7.5)]),
    # a line of a dense caption
    ("12.5 - 20.0: a red circle", [(12.5, 20)]),
    ("00:12 - 00:20: a red circle", [(12, 20)]),
    ("5 - 10: a man", [(5, 10)]),
    ("- 12.5 - 20.0: a red circle\n- 33.0 - 41.5: a blue square", [(12.5, 20), (33, 41.5)]),
    ("12:05:61 - 12:05:70: a man", None),
    ("7:50 - 7:61: a man", None),
    # start and end in a sentence of their own verbs
    ("The event starts at 5.0 seconds and ends at 12.0 seconds.", [(5, 12)]),
    ("The event begins at 00:05 and ends at 00:12.", [(5, 12)]),
    ("The red circle appears at 5.0 seconds and disappears at 12.0 seconds.", [(5, 12)]),
    ("A man enters at 5.0 s with 2 dogs and leaves the room at about 12.0 s.", [(5, 12)]),
    ("It appears at 5.0 s and stays until 12.0 s.", [(5, 12)]),
    ("It starts at 5.0 and ends at 12.0", [(5, 12)]),
    ("first appears at 5.0 seconds; last seen at 12.0 seconds", [(5, 12)]),
    ("It enters at 2.0 s and leaves at 3.0 s, enters at 5.0 s and leaves at 9.0 s.", [(2, 3), (5, 9)]),
    ("It appears at 5.0 s and again at 9.0 s and ends at 12.0 s", [(9, 12)]),
    ("It appears at 5.0 s and again at 12.0 s.", [(5, 5), (12, 12)]),
    ("A man enters at 5.0 s. A dog leaves at 12.0 s.", [(5, 5), (12, 12)]),
    ("It happens at 5.0 s and lasts about 7 seconds", [(5, 5), (7, 7)]),
    ("**Start time**: 5.0s\n**End time**: 12.0s", [(5, 12)]),
    ("_Start_: 5.0s\n_End_: 12.0s", [(5, 12)]),
    # the end of the video
    ("The event happens from 12.5 seconds to the end of the video.", [(12.5, None)]),
    ("from <12.5 seconds> until the end", [(12.5, None)]),
    ("12.5 - end", [(12.5, None)]),
    ("12.5 seconds onwards", [(12.5, None)]),
    ("2.0 - 5.0\n0:12 - end of video", [(2, 5), (12, None)]),
    ("It appears at 12.5 s and stays until the end of the clip.", [(12.5, None)]),
    ("It stays from 12.5 seconds until the video ends.", [(12.5, None)]),
    ("A man walks from 12.5 seconds to the end of the street.", [(12.5, 12.5)]),
    ("frames 5 to the end", None),
    # commas in numbers, and between them
    ("12,5 - 20,0", [(12.5, 20)]),
    ("12,5-20,0, 33,0-41,5", [(12.5, 20), (33, 41.5)]),
    ("12,5 s - 20,0 s", [(12.5, 20)]),
    ("between 12,5 and 20,0 seconds", [(12.5, 20)]),
    ("<12,5 seconds> to <20,0 seconds>", [(12.5, 20)]),
    ("Start: 12,5\nEnd: 20,0", [(12.5, 20)]),
    ("It happens at 12,5 s.", [(12.5, 12.5)]),
    ("1,234.5 - 1,300.0", [(1234.5, 1300)]),
    ("from 1,234.5 s to 1,300.0 s", [(1234.5, 1300)]),
    ("1,234 - 1,300", None),
    ("It happens at 1,234 seconds.", None),
    ("12,5 - 20", None),
    ("5-10,20-25", [(5, 10), (20, 25)]),
    ("5-10,20-30,35-40", [(5, 10), (20, 30), (35, 40)]),
    ("12.5-20.0,33.0-41.5", [(12.5, 20), (33, 41.5)]),
    ("00:12-00:20,00:33-00:41", [(12, 20), (33, 41)]),
    ("[12,20]", [(12, 20)]),
    ("[[12,20],[33,41]]", [(12, 20), (33, 41)]),
    ('{"start":12,"end":20}', [(12, 20)]),
]

# spans, and those that a denial takes
DENIED: list[tuple[str, list[tuple[float, float]] | None, list[tuple[float, float]]]] = [
    # in front of the range
    ("No red circle appears between 0.0 and 61.4 seconds.", [], [(0, 61.4)]),
    ("No van stops from 0 to 61 seconds.", [], [(0, 61)]),
    ("Answer: no van turns left from 0 to 61 seconds.", [], [(0, 61)]),
    ("A van cannot be seen between 0.0 and 61.4 seconds.", [], [(0, 61.4)]),
    ("I could not find a van from 0.0 to 61.4 s", [], [(0, 61.4)]),
    ("There isn't any van from 0.0 - 61.4 s", [], [(0, 61.4)]),
    ("There is no van in the video (0.0 - 61.4).", [], [(0, 61.4)]),
    ("The video does not show a van from 0.0 to 61.4 seconds.", [], [(0, 61.4)]),
    ("I don't see any van from 5 to 10 s.", [], [(5, 10)]),
    ("There's no van, and the van isn't there, from 5 to 10 s.", [], [(5, 10)]),
    ("Nobody enters from 0.0 to 30.0", [], [(0, 30)]),
    ("no one appears between 5 and 10", [], [(5, 10)]),
    ("Nothing happens from 5.0 to 10.0.", [], [(5, 10)]),
    ("A van is never visible from 5.0 to 10.0 and from 20.0 to 30.0.", [], [(5, 10), (20, 30)]),
    ("It does not appear before 12.5 s.", [], [(12.5, 12.5)]),
    # behind it
    ("The video from 0.0 to 61.4 seconds shows no van.", [], [(0, 61.4)]),
    ("Between 0.0 and 61.4 seconds, no van is shown.", [], [(0, 61.4)]),
    ("Between 0.0 and 61.4 seconds, the red circle does not appear.", [], [(0, 61.4)]),
    ("From 0 to 61 seconds nobody enters.", [], [(0, 61)]),
    ("0.0 - 61.4: no van stops here", [], [(0, 61.4)]),
    ("From 0.0 to 10.0 and from 20.0 to 30.0 no van is visible.", [], [(0, 10), (20, 30)]),
    # of its own clause only
    ("It is not visible at first, then appears from 12.5 to 20.0 seconds.", [(12.5, 20)], []),
    ("It is not visible at first and appears from 12.5 to 20.0 seconds.", [(12.5, 20)], []),
    ("It is not visible, then it appears from 12.5 to 20.0 seconds.", [(12.5, 20)], []),
    ("It does not happen between 0.0 - 30.0 but happens 35.0 - 40.0", [(35, 40)], [(0, 30)]),
    ("It does not happen from 0.0 to 30.0 but at 35.0 s.", [(35, 35)], [(0, 30)]),
    ("No red circle appears from 0 to 9 s. It appears from 10 to 12 s.", [(10, 12)], [(0, 9)]),
    ("The man never appears alone; he is there from 5.0 to 9.0", [(5, 9)], []),
    ("It does not happen from 0.0 to 5.0, it happens from 5.0 to 9.0.", [(5, 9)], [(0, 5)]),
    ("The circle, which was not visible before, appears from 5.0 to 9.0.", [(5, 9)], []),
    ("There is no exact match, the closest event is from 5.0 to 9.0.", [(5, 9)], []),
    ("0.0 - 9.0: van visible\n9.0 - 61.4: no van visible", [(0, 9)], [(9, 61.4)]),
    ("There is no van.\n12.5 - 20.0", [(12.5, 20)], []),
    ("It is visible from 5.0 to 12.0 and not from 20.0 to 30.0.", [(5, 12)], [(20, 30)]),
    ("It does not appear until 12.5 seconds.", [(12.5, 12.5)], []),
    ("A van never stops except from 12.5 to 20.0.", [(12.5, 20)], []),
    # a null beside times
    ('{"label": null, "start": 5.0, "end": 12.0}', [(5, 12)], []),
    ('[{"start": 5, "end": 12}, {"start": null, "end": null}]', [(5, 12)], []),
    ("Audio: none. It happens from 5.0 to 12.0 seconds.", [(5, 12)], []),
    ("Audio: none.", None, []),
    ('{"label": null}', None, []),
    ('```json\n{"start": null, "end": null}\n```', [], []),
    ('{"start": 5.0, "end": null}', [], []),
    ("Time range: none", [], []),
    ("Answer:\nnone", [], []),
    ("There are none.", [], []),
    ("N/A", [], []),
    ("No.", [], []),
    # a no that denies no time
    ("A man walks from 5.0 to 12.0 s and is not seen again.", [(5, 12)], []),
    ("A man walks from 5.0 to 12.0 s, no car is visible.", [(5, 12)], []),
    ("A man walks with no one near from 5.0 to 12.0 s.", [(5, 12)], []),
    ("Nothing but a red circle is visible from 5.0 to 12.0.", [(5, 12)], []),
    ("From 5.0 to 12.0 s the man is no longer visible.", [(5, 12)], []),
    ("Player no. 3 appears from 5.0 to 12.0 s.", [(5, 12)], []),
    ("No. 3 appears from 5.0 to 12.0 s.", [(5, 12)], []),
    ("No, it happens from 5.0 to 12.0.", [(5, 12)], []),
    ("No other man appears, from 5.0 to 12.0 he is alone.", [(5, 12)], []),
    ("12.5 - 20.0: none of the others", [(12.5, 20)], []),
    ("12.5 - 20.0\nnever again", [(12.5, 20)], []),
]


@pytest.mark.parametrize(("text", "spans"), TABLE, ids=[repr(text)[:40] for text, _ in TABLE])
def test_reading_what_models_write(text: str, spans: list[tuple[float, float | None]] | None) -> None:
    read = read_spans(text).spans
    expected = (
        None
        if spans is None
        else [(Fraction(str(a)), b if b is None else Fraction(str(b))) for a, b in spans]
    )
    assert (None if read is None else [(span.start, span.end) for span in read]) == expected


@pytest.mark.parametrize(("text", "spans", "denied"), DENIED, ids=[repr(text)[:40] for text, _, _ in DENIED])
def test_a_denial_takes_the_ranges_of_its_clause(
    text: str, spans: list[tuple[float, float]] | None, denied: list[tuple[float, float]]
) -> None:
    read = read_spans(text)
    seen, taken = (
        None if found is None else [(float(span.start), float(span.end or 0)) for span in found]
        for found in (read.spans, read.denied)
    )
    assert (seen, taken) == (spans, denied)


def test_a_not_of_the_event_itself_denies_nothing() -> None:
    event = "The logo is not visible"
    for text in (
        f"{event} from 10.0 to 20.0 seconds.",
        f'{{"event": "{event.lower()}", "start": 10, "end": 20}}',
    ):
        assert [(span.start, span.end) for span in read_spans(text, event).spans or ()] == [(10, 20)]
        assert read_spans(text).spans == ()
    # The event's words, without their `not`, are still the subject of a denial.
    assert read_spans("No van stops from 0 to 61 seconds.", "van stops").spans == ()
    assert read_spans("No van stops from 0 to 61 seconds.", "no van stops").spans != ()
    assert read_spans("The van is not visible from 0 to 61 seconds.", "a").spans == ()
    denying = read_spans("It does not appear between 0 and 61 seconds.", event)
    assert denying.spans == () and [(span.start, span.end) for span in denying.denied] == [(0, 61)]


@pytest.mark.parametrize(
    ("event", "text", "denied"),
    [
        ("a van stops", "The van does not stop from 5 to 10", True),
        ("a van stops", "From 5.0 to 10.0 seconds the van doesn't actually stop.", True),
        ("the van stopping", "The van is not stopping from 5 to 10 s", True),
        ("a red circle leaves", "The circle did not leave from 5 to 10 s", True),
        ("a van stops", "The van does not stop at first and stands from 5 to 10 s", False),
        ("a van stops", "The van does not stop, then stops from 5 to 10 s", False),
        ("a van stops", "The van does not move from 5 to 10 s", False),
        ("a van stands", "The van is not stopping from 5 to 10 s", False),
        ("a van that does not stop", "The van does not stop from 5 to 10 s", False),
        ("", "The van does not stop from 5 to 10 s", False),
        ("10", "It is not 10 s: 5 to 10 s", False),
    ],
)
def test_a_not_in_front_of_the_events_own_words_denies_it(event: str, text: str, denied: bool) -> None:
    read = read_spans(text, event)
    assert [(span.start, span.end) for span in (read.denied if denied else read.spans or ())] == [(5, 10)]
    assert bool(read.spans) != denied


def test_a_range_written_backwards_is_told() -> None:
    read = read_spans("20.0 - 12.5\n30.0 - 33.0")
    assert [(span.start, span.end) for span in read.spans or ()] == [(30, 33)]
    assert [(span.start, span.end) for span in read.backwards] == [(20, Fraction("12.5"))]


def test_a_span_knows_where_its_numbers_stand() -> None:
    text = "so: <12.5 seconds> to 0:20.0."
    (span,) = read_spans(text).spans or ()
    assert [text[a:b] for a, b in span.characters] == ["12.5", "0:20.0"]
    text = "At 7.5 seconds."
    (span,) = read_spans(text).spans or ()
    assert [text[a:b] for a, b in span.characters] == ["7.5"]
