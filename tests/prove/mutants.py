"""The mistakes that a loss like ours could hide, as edits of the source, and the tests that must notice them."""

from __future__ import annotations

from dataclasses import dataclass

PROPERTIES = "tests/trainers/test_properties.py"
NOISE = "tests/trainers/test_noise_weights.py"
OPTIMUM = "tests/trainers/test_optimum.py"
DIVERGENCES = "tests/trainers/test_divergences.py"
OPTIONS = "tests/trainers/test_options.py"


@dataclass(frozen=True)
class Mutant:
    """Edits of one file, made one after the other; each old text stands there exactly once.

    `tests` are files or test functions.
    """

    name: str
    file: str
    edits: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]


def swap(first: str, second: str) -> tuple[tuple[str, str], ...]:
    """Two divergences under each other's name: formula, D, cut and flat point consistently those of the other."""
    named = [f"\ndef {name}(" for name in (first, "swapped", second)]
    return ((named[0], named[1]), (named[2], named[0]), (named[1], named[2]))


MUTANTS = (
    Mutant(
        "V(s') is detached",
        "harness/actions/batch.py",
        (("gamma * self.next_value", "gamma * self.next_value.detach()"),),
        (f"{PROPERTIES}::test_2_gradient",),
    ),
    Mutant(
        "V(s_N) is pinned to 0",
        "trainers/sequence_match.py",
        (("end = (1 - expert.gamma) * values.end_value", "end = 0 * values.end_value"),),
        (f"{PROPERTIES}::test_3_loss_is_minus_J",),
    ),
    Mutant(
        "V(s_N) is pinned to 0, in td_mle",
        "trainers/td_mle.py",
        (("(1 - expert.gamma) * values.end_value", "0 * values.end_value"),),
        (f"{OPTIONS}::test_td_mle_is_offline_chi2_inside_its_range",),
    ),
    Mutant(
        "the absorbing term is dropped",
        "harness/actions/batch.py",
        (("end_weight[n] = after / (1 - weighting.gamma)", "end_weight[n] = 0.0"),),
        (f"{NOISE}::test_8_one_wrong_token",),
    ),
    Mutant(
        "the absorbing term is dropped from the loss",
        "trainers/sequence_match.py",
        ((" + expert.end_weight * self.g(end)).mean()", ").mean()"),),
        (f"{PROPERTIES}::test_3_loss_is_minus_J",),
    ),
    Mutant(
        "each sequence is divided by its own length",
        "harness/actions/batch.py",
        (('if weighting.normalisation == "per_sequence":', "if True:"),),
        (f"{OPTIONS}::test_12_only_a_constant_normaliser_is_proper",),
    ),
    Mutant(
        "KL(data‖model) and KL(model‖data) change places",
        "trainers/divergences.py",
        swap("kl_data_model", "kl_model_data"),
        (f"{DIVERGENCES}::test_phi_and_D_come_from_the_generator",),
    ),
    Mutant(
        "Pearson's and Neyman's chi2 change places",
        "trainers/divergences.py",
        swap("chi2", "neyman"),
        (f"{OPTIMUM}::test_10_and_11_training_ends_at_the_direct_minimum",),
    ),
    Mutant(
        "kl_mixture measures the model against the mixture",
        "trainers/divergences.py",
        (
            (
                "lambda d, m: 2 * (d.xlogy(d) - d.xlogy((m + d) / 2)).sum(-1)",
                "lambda d, m: 2 * (m.xlogy(m) - m.xlogy((m + d) / 2)).sum(-1)",
            ),
        ),
        (f"{DIVERGENCES}::test_phi_and_D_come_from_the_generator",),
    ),
    Mutant(
        "kl_mixture trains with the bare KL that its D contains",
        "trainers/divergences.py",
        (("return 2 * x.log1p() - x", "return x.log1p()"),),
        (f"{OPTIMUM}::test_10_and_11_training_ends_at_the_direct_minimum",),
    ),
    Mutant(
        "V-terms of injected steps are kept",
        "trainers/sequence_match.py",
        (
            (
                "total = cloning + weight * regulariser",
                "own = expert.weight != 0\n"
                "        drop = values.value - expert.gamma * values.next_value\n"
                "        total = cloning + weight * (regulariser + (drop * ~own).sum(1).mean())",
            ),
        ),
        (f"{NOISE}::test_8_the_injected_step_teaches_nothing",),
    ),
    Mutant(
        "the injected token is imitated",
        "harness/actions/weights.py",
        (
            (
                "        if injected:\n            if is_expert:",
                "        if injected:\n            weights[t] = flow\n            if is_expert:",
            ),
        ),
        (f"{NOISE}::test_8_the_injected_step_teaches_nothing",),
    ),
    Mutant(
        "the injected token is imitated where every step counts alike",
        "harness/actions/weights.py",
        (("np.where(np.asarray(row.injected), 0.0, 1.0)", "np.ones(len(row.actions))"),),
        (f"{NOISE}::test_8_the_injected_step_teaches_nothing",),
    ),
    Mutant(
        "<backspace> is legal at the boundary",
        "harness/actions/batch.py",
        (("legal_.append(len(surviving) > prompt)", "legal_.append(True)"),),
        (f"{PROPERTIES}::test_3_loss_is_minus_J", "tests/actions/test_batch.py::test_worked_example_of_the_objective"),
    ),
    Mutant(
        "<backspace> is legal at the boundary of rows that delete nothing",
        "harness/actions/batch.py",
        (("legal=(states >= prompt) & (", "legal=(states >= 0) & ("),),
        (f"{NOISE}::test_backspace_at_the_boundary_has_no_probability",),
    ),
    Mutant(
        "<backspace> is legal at the boundary of a rollout",
        "harness/generation/rollouts.py",
        (("legal = writing.depth > writing.boundary", "legal = writing.depth > 0"),),
        ("tests/generation/test_rollouts.py::test_no_backspace_at_the_boundary_and_none_without_the_action",),
    ),
    Mutant(
        "rows that were cut get the last V-term",
        "harness/actions/batch.py",
        (("if ended[n] and weighting.gamma < 1:", "if weighting.gamma < 1:"),),
        (f"{PROPERTIES}::test_3_a_row_that_is_cut_has_no_last_term",),
    ),
    Mutant(
        "rollouts, cut ones included, get V-terms",
        "trainers/sequence_match.py",
        (
            (
                'if self.value_weighting == "uniform":\n                moved',
                'if self.value_weighting != "none":\n                moved',
            ),
        ),
        (f"{PROPERTIES}::test_6_rollouts_change_nothing_but_the_mixture",),
    ),
    Mutant(
        "the slope is not cut",
        "trainers/divergences.py",
        (
            ("self.formula(x.clamp(self.cut, self.flat))", "self.formula(x.clamp(max=self.flat))"),
            ("return inside if self.cut == -math.inf else inside - SLOPE * (self.cut - x).relu()", "return inside"),
        ),
        ("tests/contracts/test_divergences.py",),
    ),
    Mutant(
        "Z is left out",
        "harness/training/loop.py",
        (("scale = 1.0 if self.buffer is None or is_expert else self.buffer.starts.mass", "scale = 1.0"),),
        (f"{NOISE}::test_training_gives_rollouts_the_mass_Z",),
    ),
    Mutant(
        "Z is left out of the measure",
        "harness/training/replay_buffer.py",
        (("1 + weighting.kappa * rate * float(masses.mean()) if matched else 1.0", "1.0"),),
        (f"{NOISE}::test_Z_is_the_expected_mass_of_all_starts",),
    ),
    Mutant(
        "scope = head trains the embeddings that share its weights",
        "harness/models/policy.py",
        (("head.weight = nn.Parameter(head.weight.detach().clone())", "head.weight.requires_grad_(True)"),),
        ("tests/training/test_loop.py::test_scope_head_trains_the_output_layer_and_the_value_head_alone",),
    ),
    Mutant(
        "a model that carries a state along the text is let through",
        "harness/models/architectures/kinds.py",
        (("elif cache is not None and _recurrent(config):", "elif False:"),),
        ("tests/models/test_architectures.py::test_the_probe_says_in_two_seconds_what_is_so[jamba]",),
    ),
    Mutant(
        "the probe accepts what it measures",
        "harness/generation/probe.py",
        (("if not most <= tolerance:", "if False:"),),
        ("tests/models/test_architectures.py::test_a_hybrid_that_is_let_through_is_refused_by_measurement[jamba]",),
    ),
    Mutant(
        "layers with a window look everywhere",
        "harness/models/architectures/masks.py",
        (("return self.added.masked_fill(~looks, torch.finfo(self.added.dtype).min)", "return self.added"),),
        ("tests/models/test_architectures.py::test_deletions_are_exact[mistral_win16]",),
    ),
    Mutant(
        "the slope of capped logits is that of their size",
        "harness/models/output_layer.py",
        (("return 1 - (capped / cap).square_()", "return 1 - (capped / cap).abs_()"),),
        ("tests/models/test_output_layer.py::test_equal_to_whole_logits_in_value_and_gradient",),
    ),
)
