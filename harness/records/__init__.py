"""Plain values that pass between stages; they import none of our packages and no torch.

Read in the order of the data: `data` (examples, splits), `law`, `rollout`, `training` (steps), `evaluation`, `score`;
then `events` (of a run while it is computed), `progress` (of a grid), `trial` (of tuning).
The names below are for plug-ins: inside the core, import from the modules.
"""

from harness.records.data import Example as Example
from harness.records.data import Fresh as Fresh
from harness.records.data import Mistake as Mistake
from harness.records.data import Splits as Splits
from harness.records.evaluation import BackspaceAfter as BackspaceAfter
from harness.records.evaluation import Corrupt as Corrupt
from harness.records.evaluation import Evaluation as Evaluation
from harness.records.evaluation import ExactStep as ExactStep
from harness.records.evaluation import Featurise as Featurise
from harness.records.evaluation import Finish as Finish
from harness.records.evaluation import FinishedLaw as FinishedLaw
from harness.records.evaluation import Force as Force
from harness.records.evaluation import Likelihood as Likelihood
from harness.records.evaluation import Pair as Pair
from harness.records.evaluation import TokenScorer as TokenScorer
from harness.records.law import Law as Law
from harness.records.progress import Progress as Progress
from harness.records.progress import Stage as Stage
from harness.records.rollout import Rollout as Rollout
from harness.records.rollout import Trajectory as Trajectory
from harness.records.score import Point as Point
from harness.records.score import Profile as Profile
from harness.records.score import Score as Score
from harness.records.score import full_name as full_name
from harness.records.training import Step as Step
