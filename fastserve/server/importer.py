"""From `module:attribute` to the object."""

import importlib
from typing import Any


class ImportFromStringError(Exception):
    """An import string that leads nowhere; the text is the reason, for the log."""


def import_from_string(import_str: Any) -> Any:
    """The object that `module:attribute[.attribute...]` names; anything but a string is returned as it is.

    Raises ImportFromStringError for a wrong format, a missing module and a missing attribute. An import that fails
    inside the module raises what it raised: its traceback is the user's.
    """
    if not isinstance(import_str, str):
        return import_str
    module_name, _, attributes = import_str.partition(":")
    if not module_name or not attributes:
        raise ImportFromStringError(f'Import string "{import_str}" must be in format "<module>:<attribute>".')
    try:
        found = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise error from None
        raise ImportFromStringError(f'Could not import module "{module_name}".') from error
    try:
        for attribute in attributes.split("."):
            found = getattr(found, attribute)
    except AttributeError as error:
        raise ImportFromStringError(f'Attribute "{attributes}" not found in module "{module_name}".') from error
    return found
