"""Turns features into the matrix in which customers are compared. Fitting and scoring both use this code."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from seg_pipeline.errors import UsageError, did_you_mean
from seg_pipeline.features.tables import FEATURES
from seg_pipeline.settings import FeatureSettings, TransformName

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]
# Stands for every value that the inverse of a transform cannot represent.
_LARGEST = 1e30

MODELLING_FEATURES = tuple(FEATURES)


def check_columns(settings: FeatureSettings) -> None:
    """Checks the features that the settings name.

    Raises:
        UsageError: features.columns names a column that is not a numeric column of rfm_features.
    """
    for name in settings.columns:
        if name not in MODELLING_FEATURES:
            raise UsageError(
                f"features.columns: {name!r} is not a feature{did_you_mean(name, MODELLING_FEATURES)}"
                f"; features are {', '.join(MODELLING_FEATURES)}"
            )


def fit_transforms(features: "pd.DataFrame", settings: FeatureSettings) -> "pd.DataFrame":
    """Fits the transforms to the features of a night's buyers (one row each); returns the rows of feature_transforms.

    The exponent of Yeo-Johnson is the maximum likelihood estimate (Yeo and Johnson 2000). A feature without spread gets
    scale 1. Values beyond features.clip standard deviations from the mean will count as if they lay there.
    """
    import pandas as pd

    rows = []
    for position, name in enumerate(settings.columns):
        values = features[name].to_numpy(dtype=np.float64, na_value=np.nan)
        present = values[~np.isnan(values)]
        fill = float(np.median(present)) if present.size else 0.0
        filled = np.where(np.isnan(values), fill, values)
        transform = settings.transform_of(name)
        exponent = _yeo_johnson_exponent(filled) if transform == "yeo-johnson" else np.nan
        transformed = _transform(filled, transform, exponent)
        center, scale = _center_and_scale(transformed, settings.scaling)
        mean, reach = float(transformed.mean()), (settings.clip or np.inf) * float(transformed.std())
        rows.append(
            {
                "position": position,
                "feature": name,
                "fill": fill,
                "transform": transform,
                "lambda": exponent,
                "low": mean - reach if np.isfinite(reach) else np.nan,
                "high": mean + reach if np.isfinite(reach) else np.nan,
                "center": center,
                "scale": scale,
                "weight": settings.weight_of(name),
            }
        )
    return pd.DataFrame(rows)


def apply_transforms(features: "pd.DataFrame", transforms: "pd.DataFrame") -> FloatArray:
    """Returns the customers' features in transformed units (customers, features), in the order of the transforms.

    Args:
        features: A row per customer, with a column per feature; missing values are filled.
        transforms: The rows of feature_transforms.
    """
    columns = []
    for row in transforms.sort_values("position").to_dict("records"):
        values = features[row["feature"]].to_numpy(dtype=np.float64, na_value=np.nan)
        transformed = _transform(np.where(np.isnan(values), row["fill"], values), row["transform"], row["lambda"])
        # Without limits they are NaN, which fmin and fmax pass over; the models of older versions have none.
        transformed = np.fmin(np.fmax(transformed, row.get("low", np.nan)), row.get("high", np.nan))
        columns.append((transformed - row["center"]) / row["scale"] * row["weight"])
    return np.column_stack(columns)


def invert_transforms(points: FloatArray, transforms: "pd.DataFrame") -> "pd.DataFrame":
    """Returns the features at points (rows, features) in transformed units: the inverse of `apply_transforms`."""
    import pandas as pd

    columns: dict[str, FloatArray] = {}
    for place, row in enumerate(transforms.sort_values("position").to_dict("records")):
        transformed = points[:, place] / row["weight"] * row["scale"] + row["center"]
        columns[row["feature"]] = _inverse(transformed, row["transform"], row["lambda"])
    return pd.DataFrame(columns)


def _transform(values: FloatArray, transform: TransformName, exponent: float) -> FloatArray:
    if transform == "log1p":
        return np.sign(values) * np.log1p(np.abs(values))
    if transform == "yeo-johnson":
        from scipy.stats import yeojohnson

        return np.asarray(yeojohnson(values, lmbda=exponent), dtype=np.float64)
    return values


def _inverse(values: FloatArray, transform: TransformName, exponent: float) -> FloatArray:
    if transform == "log1p":
        return np.sign(values) * np.expm1(np.abs(values))
    if transform == "yeo-johnson":
        from scipy.special import inv_boxcox1p

        # Below zero Yeo-Johnson is Box-Cox of 1 - x with the exponent mirrored at 1.
        above, below = np.maximum(values, 0.0), np.maximum(-values, 0.0)
        raw = np.where(values >= 0, inv_boxcox1p(above, exponent), -inv_boxcox1p(below, 2.0 - exponent))
        # With some exponents the transform levels off: values beyond its limit have no inverse.
        return np.clip(np.nan_to_num(raw, nan=_LARGEST), -_LARGEST, _LARGEST)
    return values


def _yeo_johnson_exponent(values: FloatArray) -> float:
    from scipy.stats import yeojohnson_normmax

    # Without spread, all exponents are equally likely.
    return float(yeojohnson_normmax(values)) if np.ptp(values) > 0 else 1.0


def _center_and_scale(values: FloatArray, scaling: str) -> tuple[float, float]:
    if scaling == "standard":
        center, scale = float(values.mean()), float(values.std())
    elif scaling == "robust":
        low, center, high = (float(value) for value in np.quantile(values, [0.25, 0.5, 0.75]))
        scale = high - low
    else:
        center, scale = 0.0, 1.0
    # A spread below the rounding error counts as none.
    return center, scale if scale > 1e-12 * max(1.0, abs(center)) else 1.0
