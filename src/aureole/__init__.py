"""Aureole: how far may an image change around one object before a classifier loses another? With a proof."""
