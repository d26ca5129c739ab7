"""Video info + activity + budget -> SamplePlan. Pure: no I/O, no torch.

plan      Step, SamplingSettings, SamplePlan; the presets and the modes
size      frame sizes and their tokens
grid      the even grid of pairs of frames
edges     where motion begins and ends, and where scenes are cut
choice    which steps are kept where sampling is not even
planner   plan_samples
live      the even grid over a stream
"""

from qvl_cli.sampling.plan import DETAIL, MODES, SCANNED, SamplePlan, SamplingSettings, Step
from qvl_cli.sampling.planner import check_sampling, plan_samples, sampled_range
from qvl_cli.sampling.size import MIN_STEP_TOKENS, frame_size

__all__ = [
    "DETAIL",
    "MIN_STEP_TOKENS",
    "MODES",
    "SCANNED",
    "SamplePlan",
    "SamplingSettings",
    "Step",
    "check_sampling",
    "frame_size",
    "plan_samples",
    "sampled_range",
]
