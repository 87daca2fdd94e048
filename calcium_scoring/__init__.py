"""Coronary calcium scoring: the library of the field that training and serving share."""
