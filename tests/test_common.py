"""scikit-learn's estimator checks, those that it generates and those it does not."""

import pytest
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_bcl import BCLEmbedder
from sklearn_bcl.augmentations import GaussianNoise

# Few epochs, as scikit-learn has its own iterative estimators checked.
DEFAULT = BCLEmbedder(max_epochs=3)
NON_DEFAULT = BCLEmbedder(
    n_components=5,
    hidden_layer_sizes=(),
    augmentation=GaussianNoise(0.1),
    loss="hcl",
    optimizer="sgd",
    batch_size=7,
    max_epochs=3,
    early_stopping=True,
    validation_fraction=0.4,
    random_state=3,
)


@parametrize_with_checks([DEFAULT, NON_DEFAULT])
def test_generated_check(estimator, check):
    check(estimator)


# The checks of set_output mix frames and arrays on purpose.
@pytest.mark.filterwarnings(
    "ignore:X (has|does not have valid) feature names:UserWarning"
)
@pytest.mark.parametrize(
    "name",
    [
        "check_param_validation",
        "check_set_output_transform",
        "check_set_output_transform_pandas",
        "check_set_output_transform_polars",
        "check_global_output_transform_pandas",
        "check_global_set_output_transform_polars",
        "check_transformer_get_feature_names_out",
        "check_transformer_get_feature_names_out_pandas",
        "check_get_feature_names_out_error",
        "check_dataframe_column_names_consistency",
        "check_inplace_ensure_writeable",
        "check_estimators_partial_fit_n_features",
    ],
)
@pytest.mark.parametrize("estimator", [DEFAULT, NON_DEFAULT], ids=["default", "other"])
def test_check_not_generated(estimator, name):
    # scikit-learn runs these on its own estimators only.
    getattr(estimator_checks, name)("BCLEmbedder", estimator)
