"""Files of received events: written batch by batch, renamed when they are complete."""
