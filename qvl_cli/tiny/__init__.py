"""The embedded model: a small Qwen3-VL that knows one drawn world, and everything that made it.

world       what can happen: actors, actions, scripts drawn from a seed
draw        script -> frames, fast and in batches;  hiding: captions that hide what is asked about
questions   script -> questions, answers and the spans that prove them;  pieces: what they are made of
drills      exercises without a video
film        script -> H.264 file + truth file
vocabulary  byte-level tokenizer with single digits
recipe      checkpoint shape and every number of the training
network     the vision tower over many steps, with gradients
perception  stage 1: what covers each vision token
clips       scripts -> training clips, many questions packed behind one video
timing      later stages: what happens when;  lookup: where an answer lies;  readers: what states say
outside     pictures of anything else;  gate: the in-world score against them
calibrate   what a decoded span is worth
trainer     the resumable loop;  export: the checkpoint folder;  train: `python -m qvl_cli.tiny.train`
checkpoint/ the weights the recipe gave, in the ordinary transformers folder format
"""
