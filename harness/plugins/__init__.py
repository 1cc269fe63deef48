"""The contracts of plug-ins: `Trainer`, `Benchmark`, `Metric`, and the values that they take and return.

A plug-in's file imports its names from here.  Read `trainer` for a new objective, `metric` for a new score,
`benchmark` for a new task; `options` lists and checks the fields that a plug-in's dataclass declares, `speed` times
two ways to do one thing, `texts` checks what a file gives; `unreachable` says why the Hub cannot be asked.  May import
what stands before it in `LAYERS`: errors, hashing, records, registry, seeding, config, actions and system.  Loads no
torch.
"""

from harness.actions.weights import Normalisation as Normalisation
from harness.actions.weights import NormalisationOption as NormalisationOption
from harness.actions.weights import Weighting as Weighting
from harness.plugins.benchmark import Benchmark as Benchmark
from harness.plugins.metric import Measure as Measure
from harness.plugins.metric import Metric as Metric
from harness.plugins.metric import Profiled as Profiled
from harness.plugins.metric import ProfileMeasure as ProfileMeasure
from harness.plugins.metric import Unscorable as Unscorable
from harness.plugins.metric import against as against
from harness.plugins.metric import measured as measured
from harness.plugins.metric_names import as_measures as as_measures
from harness.plugins.metric_names import known_metrics as known_metrics
from harness.plugins.metric_names import metric_of as metric_of
from harness.plugins.metric_names import parse_metric as parse_metric
from harness.plugins.options import Option as Option
from harness.plugins.options import build as build
from harness.plugins.options import resolve as resolve
from harness.plugins.texts import json_value as json_value
from harness.plugins.texts import not_utf8 as not_utf8
from harness.plugins.texts import text_value as text_value
from harness.plugins.trainer import BIASED as BIASED
from harness.plugins.trainer import Evaluate as Evaluate
from harness.plugins.trainer import Loss as Loss
from harness.plugins.trainer import Moment as Moment
from harness.plugins.trainer import Needs as Needs
from harness.plugins.trainer import Replay as Replay
from harness.plugins.trainer import Trainer as Trainer
from harness.plugins.trainer import Value as Value
from harness.system.hub import unreachable as unreachable
