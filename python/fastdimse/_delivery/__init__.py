"""Delivery of events to peers, with one association and one worker thread per peer."""

from .delivery import Delivery
from .errors import DeliveryError
from .progress import Progress
from .retry_statuses import RETRY_STATUSES

__all__ = ["RETRY_STATUSES", "Delivery", "DeliveryError", "Progress"]

# `repr`, `help` and pickles name the public path.
for _public in (Delivery, DeliveryError, Progress):
    _public.__module__ = "fastdimse"
