"""From the text of a statement to a tree in which every name is bound."""
