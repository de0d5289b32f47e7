"""Joulegrid's Hydra plug-ins; Hydra imports them at every start, so nothing here imports anything heavy."""
