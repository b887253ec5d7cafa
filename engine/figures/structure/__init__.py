"""What a mechanism imposes: buckets, segments, levels, memory, routes, factors, biases."""
