"""The proof that batch equals live: a collection built anew from its log, beside what serves."""
