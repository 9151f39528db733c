-- endpoint_enable: forget that an endpoint was disabled and that it failed; close its breaker.
--
-- uses  ledger append
-- KEYS  endpoint_  HASH  by endpoint: edition, host, ordered, disabled, breaker
-- ARGV  id  str  endpoint
-- Returns when it was disabled, 0 if it was not.
local at = redis.call('HGET', endpoint_ .. id, 'disabled_at')
redis.call('HDEL', endpoint_ .. id, 'disabled', 'disabled_at', 'open', 'until', 'probe', 'fails',
  'failing', 'recent')
redis.call('HINCRBY', endpoint_ .. id, 'edition', 1)
redis.call('ZADD', callback_lanes, 'XX', now_text, id)
ring('callbacks')
return at or '0'
