"""Jobs: their states, how they are admitted, and how they run at the nodes."""
