"""A plan on its way: cut, scatter, gather, finish."""
