"""The modules: which module of fastserve is found under which of uvicorn's names, and the finder that finds it.

`uvicorn` is a module of its own, filled as its names are asked for. Everything below it is, as an object, the module of
fastserve: what a program changes in one it has changed in the other. What is not in the table is not there, and its
import says so.
"""

import importlib
import importlib.util
from collections.abc import Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any, Final

VERSION: Final = "0.54.0"
"""The release of uvicorn whose names and behaviour these are."""

ROOT_NAMES: Final = {
    "Config": "fastserve.server.config",
    "Server": "fastserve.server.server",
    "main": "fastserve.cli",
    "run": "fastserve.cli",
}
"""What `uvicorn` exports, and where it is."""

HOMES: Final[dict[str, str]] = {
    "uvicorn": "",
    "uvicorn.__main__": "fastserve.__main__",
    "uvicorn._types": "fastserve.types",
    "uvicorn.config": "fastserve.config",
    "uvicorn.importer": "fastserve.importer",
    "uvicorn.lifespan": "",
    "uvicorn.lifespan.off": "fastserve.server.lifespan",
    "uvicorn.lifespan.on": "fastserve.server.lifespan",
    "uvicorn.logging": "fastserve.logging",
    "uvicorn.main": "fastserve.main",
    "uvicorn.middleware": "fastserve.middleware",
    "uvicorn.middleware.asgi2": "fastserve.middleware.asgi2",
    "uvicorn.middleware.message_logger": "fastserve.middleware.message_logger",
    "uvicorn.middleware.proxy_headers": "fastserve.middleware.proxy_headers",
    "uvicorn.middleware.wsgi": "fastserve.middleware.wsgi",
    "uvicorn.protocols": "fastserve.protocols",
    "uvicorn.protocols.utils": "fastserve.protocols.utils",
    "uvicorn.server": "fastserve.server",
    "uvicorn.supervisors": "fastserve.supervisors",
    "uvicorn.supervisors.multiprocess": "fastserve.supervisors.multiprocess",
    "uvicorn.workers": "fastserve.workers",
}
"""uvicorn's modules and ours; an empty string for one that is made here."""


class Root(ModuleType):
    """The module `uvicorn`, or a package of it that only holds others."""

    def __getattr__(self, name: str) -> Any:
        full_name = f"{self.__name__}.{name}"
        if self.__name__ == "uvicorn" and name in ROOT_NAMES:
            found = getattr(importlib.import_module(ROOT_NAMES[name]), name)
        elif full_name in HOMES:
            found = importlib.import_module(full_name)
        else:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        self.__dict__[name] = found
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        # `import uvicorn.main` would put the module in the place of the command.
        if name != "main" or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


class Loader(InspectLoader):
    """Loads by answering with the module of fastserve."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        home = HOMES[spec.name]
        if home:
            module = importlib.import_module(home)
            # The import system gives the module the spec that it is found by here.
            spec.loader_state = module.__spec__
            return module
        root = Root(spec.name, "fastserve, in uvicorn's place.")
        if spec.name == "uvicorn":
            root.__dict__.update(__version__=VERSION, __all__=sorted(ROOT_NAMES))
        return root

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        if spec is not None and spec.loader_state is not None:
            module.__spec__ = spec.loader_state

    def is_package(self, fullname: str) -> bool:
        return any(name.startswith(fullname + ".") for name in HOMES)

    def get_code(self, fullname: str) -> CodeType | None:
        """The code of ours, for `python -m`."""
        spec = importlib.util.find_spec(HOMES[fullname]) if HOMES[fullname] else None
        loader = spec.loader if spec is not None else None
        return loader.get_code(spec.name) if spec is not None and isinstance(loader, InspectLoader) else None

    def get_source(self, fullname: str) -> str | None:
        return None


class Finder(MetaPathFinder):
    """Finds everything named `uvicorn`, before anybody else does."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != "uvicorn":
            return None
        if fullname not in HOMES:
            if fullname.rpartition(".")[0] not in HOMES or fullname.startswith("uvicorn.__"):
                return None
            raise ModuleNotFoundError(
                f"No module named {fullname!r}: fastserve stands in for uvicorn here and has nothing of that name",
                name=fullname,
            )
        return ModuleSpec(fullname, loader, is_package=loader.is_package(fullname))


loader: Final = Loader()
finder: Final = Finder()
