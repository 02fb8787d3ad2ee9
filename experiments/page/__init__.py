"""The lesson's page: what runs the experiments, what builds the page, and its own sections."""
