"""The hidden state as memory: what a linear readout finds in it of earlier inputs."""
