"""Joulegrid's Hydra plug-ins; Hydra imports them at every start, so they import no heavy library."""
