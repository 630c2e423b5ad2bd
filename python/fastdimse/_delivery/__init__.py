"""Delivery of events to peers, with an association and a worker thread for each peer."""

from .delivery import RETRY_STATUSES, Delivery, DeliveryError, Progress

__all__ = ["RETRY_STATUSES", "Delivery", "DeliveryError", "Progress"]
