"""What rows are, and how they are read: format, labels, batches, statistics."""
