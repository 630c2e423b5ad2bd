"""Delivery of events to peers, with an association for each peer and a pool of threads."""

from .delivery import Delivery
from .errors import DeliveryError
from .progress import Progress
from .retry_statuses import RETRY_STATUSES

__all__ = ["RETRY_STATUSES", "Delivery", "DeliveryError", "Progress"]

# `repr`, `help` and pickles name the public path.
for _public in (Delivery, DeliveryError, Progress):
    _public.__module__ = "fastdimse"
