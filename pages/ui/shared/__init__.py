"""What every page uses: words, the frame, controls, contents, the disk."""
