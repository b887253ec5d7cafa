"""One choice as a URL, a command line and JSON spell it: of a picture, of a sweep."""
