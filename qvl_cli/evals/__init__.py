"""How good an answer is: metrics over spans and texts, and the suites that measure them.

Figures:
interval      95 % intervals by resampling videos
spans         overlap and boundary errors of time ranges
qvhighlights  R1, mAP and highlights, equal to moment_detr's scorer
vue_tr        precision, recall and IoU, equal to Vidi's scorer
charades      R@n
texts         was an answer about the drawn world right
choices       which option an answer chooses
calibration   is a score worth what it says
figures       values with n and interval

Suites:
annotations   annotation files -> queries
predictions   prediction files -> ranked windows
retrieval     queries and predictions -> figures, beside trivial predictions
troubles      what could not count, told and counted
videos        which file of a folder an annotation names
watching      one loaded model, many videos
journal       the results file that an interrupted run continues
recording     the loop over videos that fills it
public        QVHighlights, Charades-STA, VUE-TR and Video-MME from the user's own files
cases         what is asked of a drawn video
drawn         the suite of freshly drawn and encoded videos
drawn_figures what it scores
paired        the same videos and questions under several memories
document      the JSON line every suite and benchmark ends in
"""
