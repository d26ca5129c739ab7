"""The embedded model: a small Qwen3-VL that knows one drawn world, and everything that made it.

world       what can happen: actors, actions, scripts drawn from a seed
draw        script -> frames, fast and in batches
questions   script -> questions, answers and the spans that prove them
film        script -> H.264 file + truth file
vocabulary  byte-level tokenizer with single digits
recipe      checkpoint shape and every number of the training
batches     scripts -> training tensors
train       `python -m qvl_cli.tiny.train`: perception, time, head, gate
checkpoint/ the weights the recipe gave, in the ordinary transformers folder format
"""
