"""Statements that are no SELECT: each is a module with its syntax and what it does."""
