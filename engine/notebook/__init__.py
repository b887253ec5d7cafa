"""Pictures in a notebook, by the app's own browser parts: `engine.show`."""

from engine.notebook.cells import Kept as Kept
from engine.notebook.cells import bundle as bundle
from engine.notebook.cells import display as display
from engine.notebook.cells import show as show
