"""Where things are computed: devices and threads."""
