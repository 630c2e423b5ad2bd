"""Percentiles of latencies in bounded memory."""

import math
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from itertools import accumulate

EXACT = 10_000
"""The number of latencies up to which percentiles are exact."""

ERROR = 0.01
"""The relative error of percentiles of more latencies."""

# Buckets whose upper limit is 2 % above the lower one: their middle is within 1 % of each value.
_BASE = math.log((1 + ERROR) / (1 - ERROR))


class Latencies:
    """The latencies of a group of events.

    Up to `EXACT` latencies are kept. More are counted in buckets of a logarithmic scale; there are
    about 50 buckets for each factor of e, so that the number of buckets has a limit.
    """

    def __init__(self) -> None:
        self.count = 0
        self.longest = 0
        self._kept: array[int] | None = array("q")
        self._buckets: Counter[int] = Counter()

    def add(self, latencies: Iterable[int]) -> None:
        """Add latencies in nanoseconds."""
        added = array("q", latencies)
        if not added:
            return
        self.count += len(added)
        self.longest = max(self.longest, *added)
        if self._kept is not None and self.count <= EXACT:
            self._kept.extend(added)
            return
        if self._kept is not None:
            added = self._kept + added
            self._kept = None
        self._buckets.update(map(_bucket, added))

    def percentile(self, percent: float) -> int | None:
        """Return the smallest latency that at least `percent` of the latencies do not exceed."""
        if not self.count:
            return None
        rank = max(math.ceil(percent / 100 * self.count), 1)
        if rank == self.count:
            return self.longest
        if self._kept is not None:
            return sorted(self._kept)[rank - 1]
        buckets = sorted(self._buckets)
        place = bisect_left(list(accumulate(self._buckets[one] for one in buckets)), rank)
        return min(_middle(buckets[place]), self.longest)


def _bucket(latency: int) -> int:
    # Latencies of zero are in the bucket of one nanosecond.
    return math.floor(math.log(max(latency, 1)) / _BASE)


def _middle(bucket: int) -> int:
    """Return the value with the same relative error at both limits of a bucket."""
    low, high = math.exp(bucket * _BASE), math.exp((bucket + 1) * _BASE)
    return round(2 * low * high / (low + high))
