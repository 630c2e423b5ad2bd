"""A warning for each public name that has no place in the reference."""

from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

import fastdimse
import fastdimse.aio
import fastdimse.pynetdicom
import fastdimse.ups
from fastdimse import events

MODULES = [fastdimse, events, fastdimse.aio, fastdimse.pynetdicom, fastdimse.ups]
# A string, and a module that has a separate page.
EXCEPT = {"fastdimse.__version__", "fastdimse.events"}

log = logging.getLogger(__name__)


def check(application: Sphinx, environment: BuildEnvironment) -> None:
    """Compare `__all__` of each public module with what the site documents."""
    names = {f"{module.__name__}.{name}" for module in MODULES for name in module.__all__}
    documented = environment.domains.python_domain.objects
    for name in sorted(names - set(documented) - EXCEPT):
        log.warning("%s has no place in the reference", name)


def setup(application: Sphinx) -> dict[str, Any]:
    """Check after all pages were read."""
    application.connect("env-check-consistency", check)
    return {"parallel_read_safe": True}
