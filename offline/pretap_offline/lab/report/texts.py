"""How to read each section of the report."""

from __future__ import annotations

__all__ = [
    "ACCURACY",
    "CALIBRATION",
    "DIFFERENCES",
    "HEAD",
    "LEARNING_CURVE",
    "MISTAKES",
    "PERMUTATIONS",
    "TRAINING",
]

ACCURACY = """\
Every trial is decoded by a decoder that did not see it. Accuracy: mean over the repeats ± their standard
deviation, which is the spread of folds and seeds alone; the uncertainty from having {n} trials is the 95 %
interval (Wilson). The standard error of an accuracy of {accuracy:.2f} from {n} trials is {error:.1f} points.
Always naming the larger class is right in {chance:.3f}. The highest of several accuracies is too good by having
been picked. Cross-validation on the training part is not the test set: others' figures from a test set are
marked so. NLL is in nats; a slope below 1 is overconfident; 'forward' says whether the state can be advanced
sample by sample."""

DIFFERENCES = """\
Fold by fold, as all were scored on the same trials; corrected resampled t-test (Nadeau and Bengio 2003). A
difference whose interval includes 0 is not shown to be one."""

CALIBRATION = """\
Of the predictions made with probability 0.8, 80 % should be right. Ten bins of equal mass; grey: where 95 % of
perfectly calibrated decoders with these probabilities would lie, so points inside it show no miscalibration.
Even such a decoder shows an ECE: {expected:.3f} on average with the probabilities of the best decoder here
(about 0.04 at 316 trials). So read the ECE with its p and the slope. Below each: how often which probability
was given, per repeat."""

LEARNING_CURVE = """\
Accuracy when each fold's decoder was fitted on a quarter, half and three quarters of its training trials, and
on all. Bars: 95 % intervals (Wilson). Points of one decoder share their trials, so they scatter less against
each other than the bars say. A curve that still rises asks for more trials."""

PERMUTATIONS = """\
The same recipe fitted and scored on labels in random order: what luck, or a leak in the procedure, would give.
p = (1 + permutations at least as accurate) / (1 + permutations), so N of them cannot show less than 1 / (1 +
N)."""

TRAINING = """\
Loss on the trials trained on, over the fits of all folds: mean, and 10th to 90th percentile; of an ensemble the
members' mean; the dashed line is guessing. It includes dropout and mirrored windows where the recipe has them.
It says whether training converged, not how good the decoder is: that is the NLL above. Kinds in closed form
have none."""

MISTAKES = "Truth → answer, in % of the trials of that truth, mean over the repeats."

HEAD = """\
What the decoders go by, seen from above, nose up, left on the left. Before a hand moves, the motor area of the
other side (C3 for the right hand, C4 for the left) turns negative and its rhythms weaken. Maps elsewhere, at
the edge of the cap or over the eyes, ask for suspicion. 'The whole answer' is the signal that goes with the
log-odds that the decoder gave out of fold: potential (average reference, less the window's first tenth) or log
power per standard deviation. 'Patterns of the filters' are those of Haufe et al. (2014) of a decoder that was
fitted once more, on all trials; single filters of a network need not show one place each, as the network mixes
them. AUC says how well the one filter's output (its last value, or its power) tells the class from the others
on those same trials, so it is too good. Weights also cancel noise: they do not show where a signal is, least of
all where there is hardly any (the baseline). Red is positive, blue negative. Maps of one course in time share a
scale, others have their own. The sign of a pattern of power means nothing."""
