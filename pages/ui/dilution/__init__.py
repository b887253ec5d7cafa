"""The parts of the dilution lab, each with `draw()`."""
