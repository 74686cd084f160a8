"""Order of the gallery, from first steps to the experiments of the paper."""

FIRST = (
    "quick_tour",
    "dataframe",
    "semi_supervised_digits",
    "downstream",
    "reading_the_posterior",
    "labels",
    "posterior_quality",
    "prior_search",
    "losses",
    "resume",
    "two_processes",
    "custom_encoder",
    "torch_loop",
    "score_densities",
    "importance_weights",
    "estimator_mse",
)


def place(filename):
    """Return the place of a script; scripts that are not listed come last."""
    name = str(filename).removeprefix("plot_").removesuffix(".py")
    return FIRST.index(name) if name in FIRST else len(FIRST), name
