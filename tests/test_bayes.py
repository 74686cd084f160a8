import numpy as np
import pytest
from helpers import small
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.model_selection import ParameterGrid

from sklearn_bcl import bayes
from sklearn_bcl.bayes import (
    alpha_from_auc,
    auc_from_alpha,
    importance_weights,
    prior_grid,
    sample_scores,
    true_negative_posterior,
)

GRID = [
    (alpha, beta, tau_plus)
    for alpha in (0.5, 0.7, 0.9, 0.999)
    for beta in (0.01, 0.3, 0.5, 0.9, 1.0)
    for tau_plus in (0.0, 0.1, 0.5, 0.9)
]


def ranks(n):
    return np.arange(1, n + 1) / n


def mid_ranks(n):
    return (np.arange(n) + 0.5) / n


def test_golden_tables(golden):
    for table in golden["tables"]:
        p = ranks(table["n_negatives"])
        priors = {key: table[key] for key in ("alpha", "tau_plus")}
        assert_allclose(
            importance_weights(p, beta=table["beta"], **priors),
            table["importance_weights"],
            rtol=1e-10,
        )
        assert_allclose(
            true_negative_posterior(p, **priors),
            table["true_negative_posterior"],
            rtol=1e-10,
        )


@pytest.mark.parametrize(("alpha", "beta", "tau_plus"), GRID)
def test_weights_against_the_paper_s_densities(alpha, beta, tau_plus):
    # The definitions, without the closed form: invert the c.d.f. by bisection.
    def density(u, share_of_minimum):
        return share_of_minimum * 2 * (1 - u) + (1 - share_of_minimum) * 2 * u

    def unlabeled_cdf(u):
        minimum, maximum = 2 * u - u**2, u**2
        negative = alpha * minimum + (1 - alpha) * maximum
        positive = (1 - alpha) * minimum + alpha * maximum
        return (1 - tau_plus) * negative + tau_plus * positive

    p = np.linspace(0, 1, 23)[1:-1]
    low, high = np.zeros_like(p), np.ones_like(p)
    for _ in range(60):
        middle = (low + high) / 2
        below = unlabeled_cdf(middle) < p
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    u = (low + high) / 2

    true_negative, false_negative = density(u, alpha), density(u, 1 - alpha)
    unlabeled = (1 - tau_plus) * true_negative + tau_plus * false_negative
    easy, hard = alpha * (1 - beta), (1 - alpha) * beta
    target = density(u, easy / (easy + hard))
    weights = importance_weights(p, alpha=alpha, beta=beta, tau_plus=tau_plus)
    posterior = true_negative_posterior(p, alpha=alpha, tau_plus=tau_plus)
    assert_allclose(weights, target / unlabeled, rtol=1e-9)
    assert_allclose(posterior, (1 - tau_plus) * true_negative / unlabeled, rtol=1e-9)


@pytest.mark.parametrize(("alpha", "beta", "tau_plus"), GRID)
def test_weights_and_posterior_are_calibrated(alpha, beta, tau_plus):
    p = mid_ranks(200_000)
    weights = importance_weights(p, alpha=alpha, beta=beta, tau_plus=tau_plus)
    posterior = true_negative_posterior(p, alpha=alpha, tau_plus=tau_plus)
    # Near alpha = 1 and tau_plus = 0 the weight of the top ranks has a pole.
    assert_allclose(weights.mean(), 1, rtol=2e-3 if alpha > 0.99 else 1e-5)
    assert_allclose(posterior.mean(), 1 - tau_plus, atol=1e-3)
    assert posterior.min() >= 0
    assert posterior.max() <= 1 + 1e-12
    assert (np.diff(posterior) <= 1e-12).all()


p = ranks(50)


@pytest.mark.parametrize(
    "priors",
    [
        {"alpha": 0.8, "beta": 0.5, "tau_plus": 0.0},
        {"alpha": 0.5, "beta": 0.5, "tau_plus": 0.3},
    ],
)
def test_no_weighting(priors):
    assert_allclose(importance_weights(p, **priors), 1, rtol=1e-14)


def test_debiasing_only_is_the_posterior():
    weights = importance_weights(p, alpha=0.8, beta=0.5, tau_plus=0.2)
    posterior = true_negative_posterior(p, alpha=0.8, tau_plus=0.2)
    assert_allclose(weights, posterior / 0.8)


def test_beta_equal_alpha_targets_the_base_density():
    kappa = (2 * 0.8 - 1) * (1 - 2 * 0.2)
    u = bayes._quantile(p, kappa)
    weights = importance_weights(p, alpha=0.8, beta=0.8, tau_plus=0.2)
    assert_allclose(weights, 1 / (1 + kappa - 2 * kappa * u))


def test_hardness_only():
    weights = importance_weights(p, alpha=0.5, beta=0.7, tau_plus=0.2)
    assert_allclose(weights, 2 * (0.3 * (1 - p) + 0.7 * p))
    other = importance_weights(p, alpha=0.5, beta=0.7, tau_plus=0.6)
    assert_array_equal(weights, other)


def test_hardest_negatives():
    kappa = (2 * 0.8 - 1) * (1 - 2 * 0.2)
    u = bayes._quantile(p, kappa)
    weights = importance_weights(p, alpha=0.8, beta=1.0, tau_plus=0.2)
    assert_allclose(weights, 2 * u / (1 + kappa - 2 * kappa * u))


# At -0.0016... the quotient of rounded numbers is above 1.
KAPPAS = [-1, -0.999, -0.3, -0.0016000000000000007, 0, 1e-9, 0.1, 0.7, 1 - 1e-12, 1]


@pytest.mark.parametrize("kappa", KAPPAS)
def test_quantile_inverts_the_cdf(kappa):
    p = np.linspace(0, 1, 1001)
    u = bayes._quantile(p, kappa)
    assert u[0] == 0
    assert u[-1] == 1
    assert_allclose((1 + kappa) * u - kappa * u**2, p, atol=1e-15)
    if kappa == 0:
        assert_array_equal(u, p)


def test_shapes_and_types():
    p = np.full((2, 3), 0.5, dtype=np.float32)
    weights = importance_weights(p, alpha=0.9, beta=0.9, tau_plus=0.1)
    assert weights.shape == (2, 3)
    assert weights.dtype == np.float64
    assert true_negative_posterior(0.5, alpha=0.9, tau_plus=0.1).shape == ()
    for convert in (auc_from_alpha, alpha_from_auc):
        assert convert(np.float32([0.6, 0.7])).dtype == np.float64


@pytest.mark.parametrize(
    ("priors", "match"),
    [
        ({"alpha": 0.4}, "'alpha' must be a float in the range .* Got 0.4"),
        ({"alpha": 1.1}, "'alpha'"),
        ({"alpha": np.nan}, "'alpha'"),
        ({"alpha": "high"}, "'alpha'"),
        ({"beta": 0}, "'beta'"),
        ({"beta": 1.01}, "'beta'"),
        ({"tau_plus": 1}, "'tau_plus'"),
        ({"tau_plus": -0.1}, "'tau_plus'"),
        ({"alpha": 1, "beta": 1}, "'alpha' and 'beta' cannot both be 1"),
        ({"alpha": 1, "tau_plus": 0}, "'alpha' cannot be 1 with 'tau_plus' 0"),
        ({"alpha": 1, "tau_plus": 1e-17}, "'alpha' cannot be 1 with 'tau_plus' 0"),
    ],
)
def test_invalid_priors(priors, match):
    priors = {"alpha": 0.9, "beta": 0.9, "tau_plus": 0.1, **priors}
    with pytest.raises(ValueError, match=match):
        importance_weights(p, **priors)
    if "beta" not in match:
        del priors["beta"]
        with pytest.raises(ValueError, match=match):
            true_negative_posterior(p, **priors)


@pytest.mark.parametrize("bad", [-0.1, 1.1, np.nan])
def test_invalid_p(bad):
    with pytest.raises(ValueError, match="'p' must lie in"):
        importance_weights([0.5, bad], alpha=0.9, beta=0.9, tau_plus=0.1)
    with pytest.raises(ValueError, match="'p' must lie in"):
        true_negative_posterior([0.5, bad], alpha=0.9, tau_plus=0.1)
    with pytest.raises(ValueError, match="'auc' must lie in"):
        alpha_from_auc(bad)
    with pytest.raises(ValueError, match="'alpha' must lie in"):
        auc_from_alpha(bad)


def test_the_least_and_the_largest_rank():
    weights = importance_weights([0, 1], alpha=0.9, beta=0.5, tau_plus=0.1)
    density = 1 + 0.8 * 0.8 * np.array([1, -1])  # of unlabeled samples
    assert_allclose(weights, 2 * np.array([0.9, 0.1]) / density)
    posterior = true_negative_posterior([0, 1], alpha=0.9, tau_plus=0.1)
    assert_allclose(posterior, 0.9 * weights)
    assert_array_equal(alpha_from_auc([0, 1]), [0.5, np.nextafter(1, 0)])
    assert_array_equal(auc_from_alpha([0.5, 1]), [0.5, 0.5 + 1 / 3])


@pytest.mark.parametrize("tau_plus", [0.1, 1e-16])
def test_alpha_one_is_allowed_off_the_corners(tau_plus):
    weights = importance_weights(p, alpha=1, beta=0.9, tau_plus=tau_plus)
    assert np.isfinite(weights).all()
    assert weights[-1] == 0


def test_auc_round_trip():
    alpha = np.linspace(0.5, 0.99, 50)
    assert_allclose(alpha_from_auc(auc_from_alpha(alpha)), alpha)
    assert_array_equal(alpha_from_auc([0.2, 1.0]), [0.5, np.nextafter(1, 0)])
    with pytest.raises(ValueError, match="'alpha' must lie in"):
        auc_from_alpha(0.3)


@pytest.mark.parametrize("alpha", [0.6, 0.8, 0.95, 1.0])
def test_sampled_scores_have_the_auc_of_the_model(alpha):
    scores, is_tn = sample_scores(
        400, 500, alpha=alpha, tau_plus=0.3, random_state=0, ppf=stats.norm.ppf
    )
    result = stats.mannwhitneyu(scores[~is_tn], scores[is_tn])
    auc = result.statistic / ((~is_tn).sum() * is_tn.sum())
    assert_allclose(auc, auc_from_alpha(alpha), atol=0.005)
    assert_allclose((~is_tn).mean(), 0.3, atol=0.005)


def test_posterior_is_calibrated_on_sampled_scores():
    scores, is_tn = sample_scores(400, 500, alpha=0.9, tau_plus=0.2, random_state=0)
    p = (scores.argsort(axis=1).argsort(axis=1) + 0.5) / scores.shape[1]
    posterior = true_negative_posterior(p, alpha=0.9, tau_plus=0.2)
    for low in np.arange(0.5, 1, 0.1):
        inside = (posterior >= low) & (posterior < low + 0.1)
        assert_allclose(is_tn[inside].mean(), posterior[inside].mean(), atol=0.02)


def test_sample_scores_options():
    scores, _ = sample_scores(3, 100, alpha=0.9, tau_plus=0.1, random_state=0)
    again, _ = sample_scores(3, 100, alpha=0.9, tau_plus=0.1, random_state=0)
    assert_array_equal(scores, again)
    assert scores.min() >= -1
    assert scores.max() <= 1
    _, is_tn = sample_scores(3, 100, alpha=1, tau_plus=0)
    assert is_tn.all()


def test_sampled_scores_are_quantiles_of_the_base_density():
    settings = {"alpha": 0.9, "tau_plus": 0.1, "random_state": 0}
    uniform, is_tn = sample_scores(3, 100, **settings)
    normal, same = sample_scores(3, 100, ppf=stats.norm.ppf, **settings)
    assert_allclose(normal, stats.norm.ppf((uniform + 1) / 2))
    assert_array_equal(is_tn, same)
    assert uniform.shape == is_tn.shape == (3, 100)
    single, _ = sample_scores(3, 100, ppf=np.float32, **settings)
    assert single.dtype == np.float64


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("n_anchors", [1, 2], [0, 1.5]),
        ("n_unlabeled", [1, 2], [0, 1.5]),
        ("alpha", [0.5, 1], [0.49, 1.01, np.nan]),
        ("tau_plus", [0, 1], [-0.01, 1.01, np.nan]),
    ],
)
def test_parameters_of_sampled_scores(name, inside, outside):
    arguments = {"n_anchors": 2, "n_unlabeled": 3, "alpha": 0.9, "tau_plus": 0.1}
    for value in inside:
        scores, _ = sample_scores(**{**arguments, name: value})
        assert np.isfinite(scores).all()
    for value in outside:
        with pytest.raises(ValueError, match=f"'{name}' must be"):
            sample_scores(**{**arguments, name: value})


def test_prior_grid_is_spread_and_nested():
    grid = prior_grid(30)
    settings = [{name: values[0] for name, values in one.items()} for one in grid]
    default = small(max_epochs=1).fit(np.eye(4))
    assert settings[0] == {
        "alpha": default.alpha_,
        "beta": default.beta_,
        "tau_plus": default.tau_plus_,
    }
    assert grid[:7] == prior_grid(7)
    p = (np.arange(200) + 0.5) / 200
    roots = np.sqrt([importance_weights(p, **one) for one in settings])
    distances = np.sqrt(np.square(roots[:, None] - roots).mean(axis=2))
    np.fill_diagonal(distances, np.inf)
    # No two settings are the same loss, and each comes closer than the one before.
    nearest = [distances[i, :i].min() for i in range(1, 30)]
    assert nearest[-1] > 0.03
    assert_allclose(nearest, np.sort(nearest)[::-1], rtol=0.05)


def test_prior_grid_is_a_grid_of_a_pipeline():
    grid = prior_grid(100, prefix="embed__")
    assert len(ParameterGrid(grid)) == 100
    assert set(grid[0]) == {"embed__alpha", "embed__beta", "embed__tau_plus"}
    assert len(prior_grid(1)) == 1
    for n_settings in (0, 101, 1.5):
        with pytest.raises(ValueError, match="'n_settings' must be"):
            prior_grid(n_settings)
