-- endpoint_put: register an endpoint, or change it if it is still as the caller has read it.
--
-- uses  ledger
-- KEYS  endpoints       HASH  registered endpoints by id
--       endpoint_       HASH  by endpoint: edition, host, ordered, disabled, breaker
--       callback_lanes  ZSET  endpoints with callbacks to deliver, by when to look
-- ARGV  id        str  endpoint
--       expected  str  the record as it was read, empty when there was none
--       record    str  the record to write
--       host      str  of its URL, which the limit per host counts
--       ordered   str  1: one delivery at a time, in order
-- Returns 1, or 0 when the record is another one by now.
if (redis.call('HGET', endpoints, id) or '') ~= expected then return 0 end
redis.call('HSET', endpoints, id, record)
redis.call('HSET', endpoint_ .. id, 'host', host)
if ordered == '1' then
  redis.call('HSET', endpoint_ .. id, 'ordered', '1')
else
  redis.call('HDEL', endpoint_ .. id, 'ordered')
end
redis.call('HINCRBY', endpoint_ .. id, 'edition', 1)
redis.call('ZADD', callback_lanes, 'XX', now_text, id)
return 1
