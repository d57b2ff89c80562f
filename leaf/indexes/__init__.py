"""Index kinds, one module each.

A module's docstring says what its kind answers, how it is stored and where the algorithm comes
from. Each kind is built from a column's values when a segment is made, by sealing or by merging,
and narrows a condition to candidate rows when it is read (`kind.py` has the protocol, `kinds.py`
which kind a column gets). An index yields a superset of the rows that meet a condition, or says
that it is exact; it never decides otherwise (I3).
"""
