"""Explanations in the report: how to read each section. Used by `write`."""

from __future__ import annotations

ACCURACY = """\
Every trial is decoded by a decoder that was not fitted on it. The accuracy is the mean over the repeats ± their
standard deviation, which reflects only folds and seeds. The 95 % interval (Wilson) is the uncertainty that comes
from having {n} trials. The standard error of an accuracy of {accuracy:.2f} from {n} trials is {error:.1f} points.
Always predicting the larger class has an accuracy of {chance:.3f}. The highest of several accuracies is optimistic,
because it was picked. Cross-validation on the training part is not the test set; published results on a test set are
marked as such. NLL is in nats. A slope below 1 is overconfident. 'forward' tells whether the state can be advanced
sample by sample."""

DIFFERENCES = """\
Compared fold by fold, because all decoders share the same folds, with the corrected resampled t-test (Nadeau and
Bengio 2003). If an interval includes 0, the data do not show a difference."""

CALIBRATION = """\
Of the predictions with probability 0.8, 80 % should be correct. The ten bins have equal mass. The grey area holds 95 %
of perfectly calibrated decoders with these probabilities, so points inside it show no miscalibration. Even such a
decoder has an ECE: {expected:.3f} on average with the probabilities of the best decoder here (about 0.04 with 316
trials). So read the ECE together with its p and the slope. The histograms show how often each probability was
predicted, per repeat."""

LEARNING_CURVE = """\
Accuracy of decoders fitted on a quarter, half, three quarters and all of the training trials of each fold. The bars
are 95 % intervals (Wilson). The points of one decoder share their trials, so they differ less from each other than the
bars suggest. If a curve is still rising, more trials would help."""

PERMUTATIONS = """\
The same recipe fitted and scored on labels in random order. This is the accuracy that luck, or a leak in the
procedure, would reach. p = (1 + permutations at least as accurate) / (1 + permutations), so N permutations cannot show
a p below 1 / (1 + N)."""

TRAINING = """\
Loss on the training trials over the fits of all folds: mean, and 10th to 90th percentile. For an ensemble it is the
mean over the members. The dashed line is guessing. The loss includes dropout and mirrored windows if the recipe uses
them. It shows whether training converged, but not how good the decoder is; see the NLL above for that. Kinds in closed
form have no training loss."""

MISTAKES = "True class → predicted class, in % of the trials of the true class, mean over the repeats."

HEAD = """\
The signals behind the decisions, seen from above, with the nose up and left on the left. Before a hand moves, the motor
area of the other side (C3 for the right hand, C4 for the left) turns negative and its rhythms weaken. Be suspicious of
maps with other centres, such as the edge of the cap or the eyes. 'The whole decision' is the signal that goes with the
log-odds of the out-of-fold decisions: potential (average reference, relative to the first tenth of the window) or log
power, per standard deviation. 'Patterns of the filters' follow Haufe et al. (2014), for a decoder that was fitted once
more on all trials. A single filter of a network need not show one place, because the network mixes its filters. AUC is
how well the output of one filter (its last value, or its power) separates the class from the others on the same
trials, so it is optimistic. Weights also cancel noise, so they do not show the origin of a signal, least of all if the
signal is weak, as in the baseline. Red is positive, blue negative. The maps of one time course share a scale; other
maps have their own. The sign of a pattern of power has no meaning."""
