"""Maximal ringed neighborhoods: the main job, several methods behind one call."""
