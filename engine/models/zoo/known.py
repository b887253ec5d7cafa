"""Make the zoo's kind of model known to transformers, without loading transformers for it.

Its Auto classes ask a list of kinds, to which a stand-in is added: at once where the list is
loaded, else as it is, for which a finder waits. As the first model is opened the stand-in gives
way to the class itself.
"""

from __future__ import annotations

import importlib
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from engine.models.zoo.kind import KIND

LIST = "transformers.models.auto.configuration_auto"


class Configuration:
    """Stands for the class of configurations; the network, once imported, takes its place."""

    model_type = KIND

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """What the class itself makes of it."""
        network: Any = importlib.import_module("engine.models.zoo.network")
        return network.ZooConfig.from_dict(config_dict, **kwargs)


class Waiting(MetaPathFinder):
    """Finds one module as all others would, once, and adds the kind as it is loaded."""

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's spec, or None of any other module."""
        if fullname != LIST:
            return None
        sys.meta_path.remove(self)
        found = find_spec(fullname)
        if found is None or found.loader is None:
            return found
        loader: Any = found.loader
        run = loader.exec_module

        def then(module: ModuleType) -> None:
            run(module)
            add(module)

        loader.exec_module = then
        return found


def add(module: Any) -> None:
    """Add the kind to the list, if it isn't there."""
    if KIND not in module.CONFIG_MAPPING:
        module.CONFIG_MAPPING.register(KIND, Configuration)


def announce() -> None:
    """See to it that `AutoModelForCausalLM` opens models of the zoo."""
    if LIST in sys.modules:
        add(sys.modules[LIST])
    elif not any(isinstance(finder, Waiting) for finder in sys.meta_path):
        sys.meta_path.insert(0, Waiting())
