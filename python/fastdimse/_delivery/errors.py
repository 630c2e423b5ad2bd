"""The error that ends the delivery to a peer."""


class DeliveryError(RuntimeError):
    """The delivery to a peer failed because of a local error.

    The worker of the peer has ended, and events without an outcome stay due in the outbox. The
    attribute ``__cause__`` is the error that ended the worker.
    """
