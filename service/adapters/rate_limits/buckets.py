"""Token buckets in this process, or in Redis for several gateways.

A bucket holds ``burst`` tokens and gets ``rate_per_s`` back each second; a request takes one.
Kept is only when the bucket will be full again, the theoretical arrival time of the generic cell
rate algorithm (ITU-T I.371), which gives the same answers as counting tokens.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Final, cast

import redis
import structlog

_log = structlog.get_logger(__name__)

_LARGEST_CALLER_COUNT: Final = 10_000
_REDIS_TIMEOUT_S: Final = 0.5

_TAKE: Final = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local wait = full_at + interval - now - interval * burst
if wait > 0 then return tostring(wait) end
local lifetime = math.ceil(interval * burst) + 1
redis.call('SET', KEYS[1], string.format('%.6f', full_at + interval), 'EX', lifetime)
return '0'
"""


@dataclass(frozen=True)
class BucketTerms:
    """How fast a bucket fills, and how much it holds."""

    rate_per_s: float
    burst: int

    @property
    def interval_s(self) -> float:
        """Seconds for one token."""
        return 1.0 / self.rate_per_s


class InProcessBuckets:
    """Buckets of one gateway; those that nobody used for longest are forgotten first."""

    def __init__(self, terms: BucketTerms, *, now: Callable[[], float] = time.monotonic) -> None:
        self._terms = terms
        self._now = now
        self._lock = Lock()
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, caller: str) -> float:
        """Take a token; return 0, or how many seconds are missing to the next one."""
        interval_s = self._terms.interval_s
        with self._lock:
            now = self._now()
            full_at = max(self._full_at.get(caller, 0.0), now)
            wait_s = full_at + interval_s - now - interval_s * self._terms.burst
            if wait_s > 1e-9:
                return wait_s
            self._full_at[caller] = full_at + interval_s
            self._full_at.move_to_end(caller)
            if len(self._full_at) > _LARGEST_CALLER_COUNT:
                self._full_at.popitem(last=False)
            return 0.0


class RedisBuckets:
    """Buckets that several gateways share; while Redis is away each gateway counts for itself."""

    def __init__(self, url: str, terms: BucketTerms) -> None:
        self._terms = terms
        self._alone = InProcessBuckets(terms)
        self._redis = redis.Redis.from_url(
            url.replace("redis+socket://", "unix://"),
            socket_timeout=_REDIS_TIMEOUT_S,
            socket_connect_timeout=_REDIS_TIMEOUT_S,
        )
        self._take = self._redis.register_script(_TAKE)

    def take(self, caller: str) -> float:
        """Take a token; return 0, or how many seconds are missing to the next one."""
        try:
            answer = self._take(
                keys=[f"cacscore:rate:{caller}"],
                args=[self._terms.interval_s, self._terms.burst],
            )
            return float(cast("bytes", answer))
        except redis.RedisError as error:
            _log.warning("rate_limit_counts_alone", reason=type(error).__name__)
            return self._alone.take(caller)
