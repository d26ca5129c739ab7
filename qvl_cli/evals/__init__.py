"""How good an answer is: metrics over spans and texts, and the suites that measure them.

spans    IoU-based figures of ranked spans, and what trivial answers score
texts    was the answer right
interval 95 % intervals by resampling videos
document the JSON line every suite and benchmark ends in
drawn    the suite of freshly drawn and encoded videos
"""
