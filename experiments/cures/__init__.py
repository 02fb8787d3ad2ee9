"""How far back a network can learn: starts, gates and clipping compared."""
