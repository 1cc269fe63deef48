"""Plain values that pass between stages; they import none of our packages and no torch.

Read in the order of the data: `data` (examples, splits), `law`, `rollout`, `training` (steps), `evaluation`, `score`;
then `events` (of a run while it is computed), `progress` (of a grid), `trial` (of tuning).
The names below are for plug-ins: inside the core, import from the modules.
"""

from harness.records.data import Example as Example
from harness.records.data import Fresh as Fresh
from harness.records.data import Mistake as Mistake
from harness.records.data import Splits as Splits
from harness.records.evaluation import Evaluation as Evaluation
from harness.records.law import Law as Law
from harness.records.rollout import Rollout as Rollout
from harness.records.rollout import Trajectory as Trajectory
from harness.records.score import Point as Point
