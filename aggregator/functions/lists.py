"""Names of functions, by what the aggregator may do with them."""

from typing import Final

MATCH: Final = "match"
SCORE: Final = "score"
DISTANCE: Final = "geo_distance"
WITHIN_RADIUS: Final = "geo_within_radius"
WITHIN_BOX: Final = "geo_within_box"
WITHIN_POLYGON: Final = "geo_within_polygon"
GEO: Final = frozenset({DISTANCE, WITHIN_RADIUS, WITHIN_BOX, WITHIN_POLYGON})
OWN: Final = frozenset({MATCH, SCORE}) | GEO
"""Functions of the aggregator's own, which become SQL of the engine before anything runs."""

NUMERIC: Final = frozenset(
    {
        "corr",
        "covar_pop",
        "covar_samp",
        "favg",
        "fsum",
        "kahan_sum",
        "kurtosis",
        "kurtosis_pop",
        "product",
        "regr_avgx",
        "regr_avgy",
        "regr_count",
        "regr_intercept",
        "regr_r2",
        "regr_slope",
        "regr_sxx",
        "regr_sxy",
        "regr_syy",
        "sem",
        "skewness",
        "stddev",
        "stddev_pop",
        "stddev_samp",
        "sumkahan",
        "var_pop",
        "var_samp",
        "variance",
    }
)
"""Aggregates over DOUBLE only: their arguments are cast before the state is made."""

EXPORTED: Final = NUMERIC | frozenset(
    {
        "any_value",
        "approx_count_distinct",
        "arbitrary",
        "arg_max",
        "arg_min",
        "argmax",
        "argmin",
        "array_agg",
        "avg",
        "bit_and",
        "bit_or",
        "bit_xor",
        "bool_and",
        "bool_or",
        "count",
        "count_if",
        "count_star",
        "countif",
        "first",
        "last",
        "list",
        "max",
        "max_by",
        "mean",
        "median",
        "min",
        "min_by",
        "sum",
    }
)
"""Aggregates whose state travels from a leaf and combines to the direct answer."""

DISTINCT: Final = frozenset(
    {
        "avg",
        "count",
        "max",
        "mean",
        "min",
        "sum",
    }
)
"""Aggregates that may be asked for distinct values and ignore NULL."""
