"""Work and its results: the queue, jobs that are watched, windows of maps."""
