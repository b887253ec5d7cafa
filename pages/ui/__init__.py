"""What the pages share: state and URL, words, controls, computing, components."""
