"""The door for plug-in authors: what a trainer, a benchmark and a metric are.  No torch."""

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
from harness.plugins.trainer import Evaluate as Evaluate
from harness.plugins.trainer import Loss as Loss
from harness.plugins.trainer import Moment as Moment
from harness.plugins.trainer import Needs as Needs
from harness.plugins.trainer import Replay as Replay
from harness.plugins.trainer import Trainer as Trainer
from harness.plugins.trainer import Value as Value
