"""The label protocol made flesh: phantoms, scenes, data sets, training and evaluation."""
